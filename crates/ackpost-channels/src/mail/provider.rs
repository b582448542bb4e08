//! Mail servers of known providers, found by the domain of the user.

use super::Mode;

/// The part of an address that a provider takes for the name of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// The whole mail address.
    Address,
    /// The part in front of the @.
    User,
    /// Either of the two.
    Any,
}

/// A provider with its own server.
#[derive(Debug)]
pub(super) struct Provider {
    /// Domains of its users: a domain, or a beginning, a colon and the endings that may follow it.
    domains: &'static [&'static str],
    pub(super) server: &'static str,
    pub(super) mode: Mode,
    pub(super) login: Login,
}

/// Further domains of one provider.
const FASTMAIL_ALIASES: &str = include_str!("fastmail.txt");

const fn provider(
    domains: &'static [&'static str],
    server: &'static str,
    mode: Mode,
    login: Login,
) -> Provider {
    Provider {
        domains,
        server,
        mode,
        login,
    }
}

/// The providers.
static PROVIDERS: &[Provider] = &[
    provider(&["gmail.com"], "smtp.gmail.com", Mode::StartTls, Login::Address),
    provider(
        &["yandex.:com,ru,ua,by,kz,uz,tr,fr"],
        "smtp.yandex.ru",
        Mode::Tls,
        Login::User,
    ),
    provider(
        &["hotmail.:com,com.au", "live.:com,com.au"],
        "smtp-mail.outlook.com",
        Mode::StartTls,
        Login::Address,
    ),
    provider(
        &["outlook.:com,com.au", "smtp.outlook.:com,com.au"],
        "smtp.outlook.com",
        Mode::StartTls,
        Login::Address,
    ),
    provider(
        &["office365.com", "smtp.office365.com"],
        "smtp.office365.com",
        Mode::StartTls,
        Login::Any,
    ),
    provider(
        &["yahoo.:ca,com"],
        "smtp.mail.yahoo.com",
        Mode::Tls,
        Login::Address,
    ),
    provider(
        &["gmx.:com,net,de,at,ch,fr"],
        "mail.gmx.com",
        Mode::StartTls,
        Login::Address,
    ),
    provider(
        &["fastmail.:com,cn,co.uk,com.au,de,es,fm,fr,im,in,jp,mx,net,nl,org,se,to,tw,uk,us"],
        "smtp.fastmail.com",
        Mode::Tls,
        Login::Address,
    ),
    provider(
        &["zoho.com", "zohomail.com"],
        "smtp.zoho.com",
        Mode::StartTls,
        Login::Address,
    ),
    provider(
        &["sendgrid.:com,net"],
        "smtp.sendgrid.net",
        Mode::Tls,
        Login::User,
    ),
    provider(&["163.com"], "smtp.163.com", Mode::Tls, Login::Address),
    provider(
        &["foxmail.com", "qq.com"],
        "smtp.qq.com",
        Mode::StartTls,
        Login::Address,
    ),
    provider(&["comcast.net"], "smtp.comcast.net", Mode::Tls, Login::Address),
];

/// Returns the provider of a domain.
pub(super) fn find(domain: &str) -> Option<&'static Provider> {
    let domain = domain.to_ascii_lowercase();
    if FASTMAIL_ALIASES.lines().any(|alias| alias == domain) {
        return find("fastmail.com");
    }
    PROVIDERS.iter().find(|provider| {
        provider.domains.iter().any(|entry| match entry.split_once(':') {
            None => *entry == domain,
            Some((start, endings)) => domain
                .strip_prefix(start)
                .is_some_and(|ending| endings.split(',').any(|known| known == ending)),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_found_by_the_domain() {
        for (domain, server) in [
            ("GMail.com", Some("smtp.gmail.com")),
            ("yandex.kz", Some("smtp.yandex.ru")),
            ("live.com.au", Some("smtp-mail.outlook.com")),
            ("fastmail.co.uk", Some("smtp.fastmail.com")),
            ("mm.st", Some("smtp.fastmail.com")),
            ("gmx.org", None),
            ("notgmail.com", None),
            ("", None),
        ] {
            assert_eq!(find(domain).map(|provider| provider.server), server, "{domain}");
        }
    }
}
