//! Lookup of a domain's server: service records (RFC 2782, XEP-0368) and addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use tokio::time::timeout;

use crate::account::{Account, AddressRule, Dns, Mode};
use crate::error::XmppError;

/// Maximum number of servers of a domain that are tried, the preferred ones first.
const ENDPOINTS_MAX: usize = 10;

/// A server to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host name or IP address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) mode: Mode,
}

impl Endpoint {
    /// The server named by a `see-other-host`: `host`, `host:port`, `[IPv6]:port` or a bare IP address.
    pub(crate) fn redirected(to: &str, mode: Mode) -> Option<Self> {
        let to = to.trim();
        let (host, port) = if to.parse::<std::net::Ipv6Addr>().is_ok() {
            (to, None)
        } else if let Some(rest) = to.strip_prefix('[') {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            match rest {
                "" => (host, None),
                rest => (host, Some(rest.strip_prefix(':')?)),
            }
        } else {
            match to.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (to, None),
            }
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|&port| port != 0)?,
            None => mode.default_port(),
        };
        let is_name = host.len() <= 253
            && !host.is_empty()
            && !host
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || "/@?#%<>&'\"[]".contains(c));
        is_name.then(|| Self {
            host: host.to_owned(),
            port,
            mode,
        })
    }
}

/// One service record, with the kind of encryption its service name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Srv {
    pub(crate) priority: u16,
    pub(crate) weight: u16,
    pub(crate) port: u16,
    /// Empty for the target `.`: the service is not offered.
    pub(crate) target: String,
    pub(crate) mode: Mode,
}

/// The servers of an account, in the order to try them.
pub(crate) async fn endpoints(account: &Account) -> Result<Vec<Endpoint>, XmppError> {
    let domain = account.jid.domain();
    let mode = account.mode.unwrap_or(Mode::StartTls);
    let direct = |host: &str| Endpoint {
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: account.port.unwrap_or(mode.default_port()),
        mode,
    };
    if let Some(host) = &account.host {
        return Ok(vec![direct(host)]);
    }
    if account.port.is_some() || is_local(domain) {
        return Ok(vec![direct(domain)]);
    }
    let services: &[(&str, Mode)] = match account.mode {
        None => &[
            ("_xmpps-client._tcp", Mode::Tls),
            ("_xmpp-client._tcp", Mode::StartTls),
        ],
        Some(Mode::Tls) => &[("_xmpps-client._tcp", Mode::Tls)],
        Some(Mode::StartTls) => &[("_xmpp-client._tcp", Mode::StartTls)],
        Some(Mode::None) => &[("_xmpp-client._tcp", Mode::None)],
    };
    let resolver = resolver(&account.dns)?;
    let name = ascii(domain);
    let limit = account.connect_timeout;
    let answers = futures_util::future::join_all(
        services
            .iter()
            .map(|&(service, mode)| records(&resolver, format!("{service}.{name}."), mode, limit)),
    )
    .await;
    let found: Vec<Srv> = answers.into_iter().flatten().collect();
    let offered: Vec<Srv> = found
        .iter()
        .filter(|record| !record.target.is_empty())
        .cloned()
        .collect();
    if offered.is_empty() {
        // The kind that would be used, or every kind asked for, is switched off by a `.`; one that is
        // merely absent is not.
        let off = found.len() >= services.len() || found.iter().any(|record| record.mode == mode);
        return if off && !found.is_empty() {
            Err(XmppError::ServiceNotOffered {
                domain: domain.to_owned(),
            })
        } else {
            Ok(vec![direct(domain)])
        };
    }
    Ok(order(offered, &mut random_below)
        .into_iter()
        .take(ENDPOINTS_MAX)
        .map(|record| Endpoint {
            host: record.target,
            port: record.port,
            mode: record.mode,
        })
        .collect())
}

/// The addresses of a host, IPv6 and IPv4 taking turns (RFC 8305 section 4).
pub(crate) async fn addresses(dns: &Dns, host: &str, port: u16) -> Result<Vec<SocketAddr>, XmppError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let name = ascii(host);
    let found: Vec<SocketAddr> = match dns {
        Dns::System => tokio::net::lookup_host((name.as_str(), port))
            .await
            .map_err(|error| {
                let reason = error.to_string();
                // The C library's words for EAI_NONAME and EAI_NODATA.
                if reason.contains("not known") || reason.contains("No address associated") {
                    XmppError::NoSuchHost {
                        host: host.to_owned(),
                    }
                } else {
                    XmppError::DnsFailed {
                        host: host.to_owned(),
                        reason: plain_dns_reason(&reason),
                    }
                }
            })?
            .collect(),
        Dns::Servers(_) => resolver(dns)?
            .lookup_ip(format!("{name}."))
            .await
            .map_err(|error| {
                if error.is_nx_domain() || error.is_no_records_found() {
                    XmppError::NoSuchHost {
                        host: host.to_owned(),
                    }
                } else {
                    XmppError::DnsFailed {
                        host: host.to_owned(),
                        reason: error.to_string(),
                    }
                }
            })?
            .iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect(),
    };
    if found.is_empty() {
        return Err(XmppError::NoSuchHost {
            host: host.to_owned(),
        });
    }
    Ok(interleave(found))
}

/// Returns the addresses that fit the rule; `None` when none of them does.
pub(crate) fn allowed(mut found: Vec<SocketAddr>, rule: Option<AddressRule>) -> Option<Vec<SocketAddr>> {
    if let Some(rule) = rule {
        found.retain(|address| rule(address.ip().to_canonical()));
    }
    (!found.is_empty()).then_some(found)
}

/// The form of a name in DNS and certificates.
pub(crate) fn ascii(domain: &str) -> String {
    match url::Host::parse(domain) {
        Ok(host) => host.to_string(),
        Err(_) => domain.to_owned(),
    }
}

fn plain_dns_reason(reason: &str) -> String {
    reason
        .trim_start_matches("failed to lookup address information: ")
        .to_owned()
}

fn is_local(domain: &str) -> bool {
    domain == "localhost"
        || domain.ends_with(".localhost")
        || domain.starts_with('[')
        || domain.parse::<IpAddr>().is_ok()
}

fn resolver(dns: &Dns) -> Result<TokioResolver, XmppError> {
    let failed = |error: &dyn std::fmt::Display| XmppError::DnsFailed {
        host: "the name servers of this machine".to_owned(),
        reason: error.to_string(),
    };
    match dns {
        Dns::System => TokioResolver::builder_tokio()
            .and_then(hickory_resolver::ResolverBuilder::build)
            .map_err(|e| failed(&e)),
        Dns::Servers(servers) => {
            let servers = servers
                .iter()
                .map(|server| {
                    let mut connection = ConnectionConfig::udp();
                    connection.port = server.port();
                    NameServerConfig::new(server.ip(), true, vec![connection])
                })
                .collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
                .build()
                .map_err(|e| failed(&e))
        }
    }
}

/// The records of one service. No answer in time counts as none: the plain address is then tried,
/// and says whether the name exists at all.
async fn records(resolver: &TokioResolver, name: String, mode: Mode, limit: Duration) -> Vec<Srv> {
    let answer = match timeout(limit / 2, resolver.srv_lookup(name.as_str())).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            if !(error.is_nx_domain() || error.is_no_records_found()) {
                tracing::debug!(%name, %error, "no service records");
            }
            return Vec::new();
        }
        Err(_) => {
            tracing::debug!(%name, "service records not answered in time");
            return Vec::new();
        }
    };
    answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_utf8().trim_end_matches('.').to_owned(),
                mode,
            }),
            _ => None,
        })
        .collect()
}

/// RFC 2782: by priority, and within one by weighted chance. Both services form one list (XEP-0368).
pub(crate) fn order(records: Vec<Srv>, below: &mut dyn FnMut(u32) -> u32) -> Vec<Srv> {
    let mut by_priority: BTreeMap<u16, Vec<Srv>> = BTreeMap::new();
    for record in records {
        by_priority.entry(record.priority).or_default().push(record);
    }
    let mut ordered = Vec::new();
    for mut group in by_priority.into_values() {
        // Records of weight 0 first, so that they have a small chance of being chosen first.
        group.sort_by_key(|record| record.weight);
        while !group.is_empty() {
            let total: u32 = group.iter().map(|record| u32::from(record.weight)).sum();
            let chosen = below(total + 1);
            let mut sum = 0;
            let at = group
                .iter()
                .position(|record| {
                    sum += u32::from(record.weight);
                    sum >= chosen
                })
                .unwrap_or(0);
            ordered.push(group.remove(at));
        }
    }
    ordered
}

fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (mut six, mut four): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv6);
    six.reverse();
    four.reverse();
    let mut mixed = Vec::with_capacity(six.len() + four.len());
    while !six.is_empty() || !four.is_empty() {
        mixed.extend(six.pop());
        mixed.extend(four.pop());
    }
    mixed
}

fn random_below(limit: u32) -> u32 {
    let number = getrandom::u64().unwrap_or_default();
    u32::try_from(number % u64::from(limit.max(1))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv {
            priority,
            weight,
            port: 5222,
            target: target.to_owned(),
            mode: Mode::StartTls,
        }
    }

    #[test]
    fn lower_priorities_come_first_whatever_the_weight() {
        let ordered = order(
            vec![srv(20, 9000, "c"), srv(5, 0, "a"), srv(10, 1, "b")],
            &mut |_| 0,
        );
        assert_eq!(
            ordered.iter().map(|r| r.target.as_str()).collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
    }

    #[test]
    fn weights_decide_by_chance() {
        let mut first = BTreeMap::<String, u32>::new();
        for number in 0..=100 {
            let mut given = Some(number);
            let ordered = order(
                vec![srv(1, 75, "heavy"), srv(1, 25, "light"), srv(1, 0, "never")],
                &mut |_| given.take().unwrap_or(0),
            );
            assert_eq!(ordered.len(), 3);
            *first.entry(ordered[0].target.clone()).or_default() += 1;
        }
        assert_eq!((first["heavy"], first["light"], first["never"]), (75, 25, 1));
    }

    #[test]
    fn families_take_turns_and_six_begins() {
        let list = ["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"]
            .map(|a| a.parse().unwrap())
            .to_vec();
        let mixed: Vec<String> = interleave(list).iter().map(ToString::to_string).collect();
        assert_eq!(mixed, ["[::1]:1", "1.1.1.1:1", "2.2.2.2:1"]);
    }

    #[test]
    fn other_hosts_are_named_in_every_form_the_rfc_has() {
        let redirected =
            |to: &str| Endpoint::redirected(to, Mode::StartTls).map(|found| (found.host, found.port));
        let is = |host: &str, port: u16| Some((host.to_owned(), port));
        assert_eq!(redirected("node2.example.org"), is("node2.example.org", 5222));
        assert_eq!(
            redirected(" node2.example.org:9222 "),
            is("node2.example.org", 9222)
        );
        assert_eq!(redirected("[2001:db8::1]:9222"), is("2001:db8::1", 9222));
        assert_eq!(redirected("[2001:db8::1]"), is("2001:db8::1", 5222));
        assert_eq!(redirected("2001:db8::1"), is("2001:db8::1", 5222));
        assert_eq!(redirected("192.0.2.7:5222"), is("192.0.2.7", 5222));
        for bad in [
            "",
            ":5222",
            "host:0",
            "host:99999",
            "host:x",
            "[::1",
            "[x]:1",
            "a b",
            "h/ost",
            "[::1]5",
        ] {
            assert_eq!(redirected(bad), None, "{bad}");
        }
    }

    #[test]
    fn international_names_are_asked_for_in_their_ascii_form() {
        assert_eq!(ascii("bücher.example"), "xn--bcher-kva.example");
        assert_eq!(ascii("localhost"), "localhost");
    }
}
