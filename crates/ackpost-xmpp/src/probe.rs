//! Checks of an account, one step at a time, without sending a message.
//!
//! ```no_run
//! use ackpost_xmpp::probe;
//!
//! # async fn example(account: ackpost_xmpp::Account) -> Result<(), ackpost_xmpp::XmppError> {
//! for server in probe::resolve_srv(&account).await? {
//!     println!("{}:{}", server.host, server.port);
//! }
//! let offered = probe::features(&account).await?;
//! println!("offered: {}", offered.mechanisms.join(" "));
//! let session = probe::Probe::open(&account).await?;
//! println!("logged in as {}", session.jid());
//! session.close().await;
//! # Ok(())
//! # }
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use crate::account::{Account, Mode};
use crate::connect::{Connector, Link, REDIRECTS_MAX, read_features};
use crate::delivery::{no_service, service_missing};
use crate::dns::{self, Endpoint};
use crate::error::{Step, XmppError};
use crate::features::Features;
use crate::id;
use crate::jid::Jid;
use crate::login::{self, Online, Plan};
use crate::message::RoomTarget;
use crate::ns;
use crate::sasl::{self, Rules};
use crate::stanza_error::{ErrorOrigin, StanzaError};
use crate::stream::{ServerKind, Transport, header};
use crate::upload::{self, Ask as _};
use crate::xml::Element;

/// A server that would be tried for an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Encryption that the connection would have.
    pub mode: Mode,
}

/// The servers of an account in the order they would be tried: the fixed one, those of the service records
/// (RFC 2782, XEP-0368), or the domain itself.
///
/// # Errors
/// [`XmppError::DnsFailed`] if no name server answers, [`XmppError::ServiceNotOffered`] if the domain says that it has no XMPP server.
pub async fn resolve_srv(account: &Account) -> Result<Vec<Candidate>, XmppError> {
    let found = dns::endpoints(account).await?;
    Ok(found
        .into_iter()
        .map(|one| Candidate {
            host: one.host,
            port: one.port,
            mode: one.mode,
        })
        .collect())
}

/// The addresses of one of them, as they would be tried.
///
/// # Errors
/// [`XmppError::NoSuchHost`] if the name has no address, [`XmppError::DnsFailed`] if no name server answers.
pub async fn resolve_addresses(account: &Account, server: &Candidate) -> Result<Vec<SocketAddr>, XmppError> {
    dns::addresses(&account.dns, &server.host, server.port).await
}

/// Features that a server offers before the login.
#[derive(Clone, Debug)]
pub struct Offered {
    /// The connection is encrypted.
    pub encrypted: bool,
    /// TLS version, as `TLSv1.3`; `None` without TLS.
    pub tls_version: Option<String>,
    /// The certificates the server showed, its own first, in DER.
    pub certificates: Vec<Vec<u8>>,
    /// STARTTLS is offered on the unencrypted stream that was looked at.
    pub starttls: bool,
    /// The login mechanisms.
    pub mechanisms: Vec<String>,
    /// The kinds of channel binding it lists (XEP-0440); `None` when it lists none.
    pub bindings: Option<Vec<String>>,
    /// The login in one flight (XEP-0388 with XEP-0386).
    pub sasl2: bool,
    /// The mechanism that would be used, or why none can be.
    pub choice: Result<ChosenMechanism, XmppError>,
}

/// The mechanism that would be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenMechanism {
    /// Its registered name.
    pub name: String,
    /// The kind of channel binding, for `…-PLUS`.
    pub binding: Option<&'static str>,
    /// Reason for the choice, as a lower-case fragment.
    pub why: &'static str,
}

/// Connects (TCP, TLS) and reads what the server offers; logs nobody in.
///
/// # Errors
/// [`XmppError`] if the server cannot be reached, or its certificate or its stream is not accepted. That no login mechanism can be used
/// is not an error: see [`Offered::choice`].
pub async fn features(account: &Account) -> Result<Offered, XmppError> {
    let connector = Connector::new(account.clone())?;
    let domain = account.jid.domain();
    let (link, features) = read_offer(&connector).await?;
    let nothing = features.sasl.mechanisms.is_empty() && features.sasl2.is_none();
    let offer = features
        .sasl2
        .as_ref()
        .map_or(&features.sasl, |sasl2| &sasl2.offer);
    let choice = if !link.encrypted && features.starttls && (features.starttls_required || nothing) {
        Err(XmppError::TlsRequired {
            domain: domain.to_owned(),
        })
    } else if nothing && features.iq_auth {
        Err(XmppError::OnlyIqAuth {
            domain: domain.to_owned(),
        })
    } else {
        sasl::choose(
            offer,
            &Rules {
                policy: account.channel_binding,
                binding_rejected: false,
                bindings: &link.bindings,
                plain: account.plain,
                encrypted: link.encrypted,
                verified: link.verified,
                loopback: link.loopback,
                domain,
            },
        )
        .map(|choice| ChosenMechanism {
            why: match (choice.binding_kind, choice.mechanism.as_str()) {
                (Some(_), _) => "the strongest that is bound to this TLS connection",
                (None, "PLAIN") => "the only one offered; it shows the server the password",
                (None, _) if account.channel_binding == crate::ChannelBinding::Never => {
                    "the strongest without channel binding, which is switched off"
                }
                (None, _) => "the strongest; the server lists no channel binding that fits",
            },
            name: choice.mechanism,
            binding: choice.binding_kind,
        })
    };
    let mechanisms = offer.mechanisms.clone();
    let bindings = offer.bindings.clone();
    let (tls_version, certificates) = match link.stream.into_transport() {
        Transport::Tcp(_) => (None, Vec::new()),
        Transport::Tls(tls) => {
            let connection = tls.get_ref().1;
            let version = connection.protocol_version().map(|version| match version {
                rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
                rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
                other => format!("{other:?}"),
            });
            let chain = connection.peer_certificates().unwrap_or_default();
            (version, chain.iter().map(|one| one.as_ref().to_vec()).collect())
        }
    };
    Ok(Offered {
        encrypted: link.encrypted,
        tls_version,
        certificates,
        starttls: features.starttls,
        mechanisms,
        bindings,
        sasl2: features.sasl2.is_some(),
        choice,
    })
}

/// Opens a stream and reads its features, on the host that the server sends us to.
async fn read_offer(connector: &Connector) -> Result<(Link, Features), XmppError> {
    let account = &connector.account;
    let domain = account.jid.domain();
    let bare = account.jid.to_bare().to_string();
    let mut elsewhere = None;
    let mut redirects = 0;
    loop {
        let mut link = connector.connect(elsewhere.as_ref()).await?;
        link.stream
            .queue(&header(domain, link.encrypted.then_some(bare.as_str())));
        match read_features(&mut link.stream, account.answer_timeout, domain).await {
            Ok(features) => return Ok((link, features)),
            Err(XmppError::SeeOtherHost { to, .. })
                if redirects < REDIRECTS_MAX && Endpoint::redirected(&to, link.mode).is_some() =>
            {
                redirects += 1;
                elsewhere = Endpoint::redirected(&to, link.mode);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Facts that a room tells about itself (XEP-0045 section 6.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a feature the room lists")]
pub struct RoomFacts {
    /// Its name for people.
    pub name: Option<String>,
    /// Only members may enter.
    pub members_only: bool,
    /// A password is asked for.
    pub password: bool,
    /// Only occupants with voice may write.
    pub moderated: bool,
    /// It stays when everybody has left.
    pub persistent: bool,
    /// It keeps an archive (XEP-0313).
    pub archive: bool,
    /// It gives messages ids of its own (XEP-0359).
    pub stable_ids: bool,
    /// It gives people permanent ids (XEP-0421).
    pub occupant_ids: bool,
}

/// Our nick, affiliation and role in a room after joining.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The nick the room gave us.
    pub nick: String,
    /// `owner`, `admin`, `member`, `none`.
    pub affiliation: String,
    /// `moderator`, `participant`, `visitor`.
    pub role: String,
}

impl Joined {
    /// True when the room lets us speak.
    pub fn has_voice(&self) -> bool {
        self.role != "visitor" && self.role != "none"
    }
}

/// A login that only asks questions.
pub struct Probe {
    online: Online,
    connector: Connector,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe")
            .field("jid", &self.online.jid)
            .finish_non_exhaustive()
    }
}

impl Probe {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`XmppError`] if the server cannot be reached or does not accept the login.
    pub async fn open(account: &Account) -> Result<Self, XmppError> {
        let connector = Connector::new(account.clone())?;
        let online = login::open(&connector, &Plan::default()).await?;
        Ok(Self { online, connector })
    }

    /// The full address the server gave us.
    pub fn jid(&self) -> &Jid {
        &self.online.jid
    }

    /// The name of the server program, if its stream shows it.
    pub fn server_program(&self) -> Option<&'static str> {
        match self.online.stream.line().kind {
            ServerKind::Prosody => Some("Prosody"),
            ServerKind::Ejabberd => Some("ejabberd"),
            ServerKind::Unknown => None,
        }
    }

    /// Returns true if the server answers before it stores: a crash can then lose messages that it confirmed.
    pub fn answers_before_it_stores(&self) -> bool {
        self.online.stream.line().kind == ServerKind::Ejabberd
    }

    /// The server rejected the channel binding it offered, so the login went without it.
    pub fn without_binding(&self) -> bool {
        self.online.without_binding
    }

    /// The upload service and the largest file in bytes it says it takes (XEP-0363).
    ///
    /// # Errors
    /// [`XmppError::NoUploadService`] if the server names none; others if the connection is lost or the server does not answer.
    pub async fn upload_service(&mut self) -> Result<(String, Option<u64>), XmppError> {
        let mut alone = upload::Alone {
            online: &mut self.online,
            account: &self.connector.account,
        };
        upload::service(&mut alone, &self.connector).await
    }

    /// Asks a room about itself, before it is entered.
    ///
    /// # Errors
    /// [`XmppError::NoSuchRoom`], [`XmppError::MembersOnly`] and others if the room or its service refuses to say it; those of a
    /// lost connection.
    pub async fn room(&mut self, room: &Jid) -> Result<RoomFacts, XmppError> {
        let bare = room.to_bare();
        let answer = self
            .ask(&bare.to_string(), Element::new("query", ns::DISCO_INFO))
            .await?;
        if answer.get("type") == Some("error") {
            let problem = StanzaError::of(&answer);
            return Err(match problem.condition.as_str() {
                "item-not-found" => XmppError::NoSuchRoom {
                    room: bare,
                    removed: true,
                },
                "remote-server-not-found" => XmppError::RemoteServerNotFound {
                    domain: bare.domain().to_owned(),
                    text: problem.text,
                },
                "remote-server-timeout" => XmppError::RemoteServerTimeout {
                    domain: bare.domain().to_owned(),
                    text: problem.text,
                },
                "registration-required" => XmppError::MembersOnly { room: bare },
                _ => match self.without_service(&bare, &problem).await? {
                    Some(error) => error,
                    None => XmppError::JoinRefused {
                        room: bare,
                        temporary: problem.may_pass(ErrorOrigin::Room),
                        condition: problem.condition,
                        text: problem.text,
                    },
                },
            });
        }
        let query = answer.find("query", ns::DISCO_INFO);
        let has = |feature: &str| {
            query.is_some_and(|query| {
                query
                    .find_all("feature", ns::DISCO_INFO)
                    .any(|one| one.get("var") == Some(feature))
            })
        };
        Ok(RoomFacts {
            name: query
                .and_then(|query| query.find("identity", ns::DISCO_INFO))
                .and_then(|identity| identity.get("name"))
                .filter(|name| !name.is_empty())
                .map(ToOwned::to_owned),
            members_only: has("muc_membersonly"),
            password: has("muc_passwordprotected"),
            moderated: has("muc_moderated"),
            persistent: has("muc_persistent"),
            archive: has(ns::MAM),
            stable_ids: has(ns::SID),
            occupant_ids: has(ns::OCCUPANT_ID),
        })
    }

    /// Returns the error if the refusal of a room comes from our server, because it does not know the service.
    async fn without_service(
        &mut self,
        room: &Jid,
        problem: &StanzaError,
    ) -> Result<Option<XmppError>, XmppError> {
        let own = self.connector.account.jid.domain().to_owned();
        if let Some(error) = service_missing(problem, room, &own) {
            return Ok(Some(error));
        }
        if problem.condition != "forbidden" || problem.text.is_none() {
            return Ok(None);
        }
        let query = Element::new("query", ns::DISCO_INFO);
        let answer = self.ask(room.domain(), query).await?;
        let refused = answer.get("type") == Some("error");
        Ok(refused.then(|| no_service(room, &own, StanzaError::of(&answer).text)))
    }

    /// Enters a room that is known to exist ([`Probe::room`]) and returns our role in it. The occupants of the room see
    /// us come and go.
    ///
    /// # Errors
    /// [`XmppError::NickTaken`], [`XmppError::Banned`], [`XmppError::RoomPassword`] and others if the room refuses us;
    /// [`XmppError::AnswerTimeout`] if it says nothing.
    pub async fn join(&mut self, target: &RoomTarget) -> Result<Joined, XmppError> {
        let bare = target.room.to_bare();
        let nick = target
            .nick
            .as_deref()
            .or(target.room.resource())
            .unwrap_or_else(|| self.connector.account.default_nick())
            .to_owned();
        let occupant = bare
            .with_resource(&nick)
            .map_err(|_| XmppError::BadNick { room: bare.clone() })?;
        let id = format!("join-{}", id::short());
        let password = target
            .password
            .as_ref()
            .map(|password| Element::new("password", ns::MUC).text(password.expose_secret()));
        let history = Element::new("history", ns::MUC).attr("maxstanzas", "0");
        let presence = Element::new("presence", ns::CLIENT)
            .attr("to", occupant.to_string())
            .attr("id", id.clone())
            .child(Element::new("x", ns::MUC).child(history).child_opt(password));
        self.online.stream.queue(&presence.to_xml());
        let limit = self.connector.account.answer_timeout;
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return Err(XmppError::AnswerTimeout {
                    step: Step::Joining,
                    after: limit,
                });
            }
            let domain = self.connector.account.jid.domain();
            let stanza = self
                .online
                .stream
                .expect(left, Step::Joining, domain, |stanza| {
                    stanza.is("presence", ns::CLIENT)
                })
                .await?;
            let from = stanza.get("from").and_then(|from| from.parse::<Jid>().ok());
            let Some(from) = from.filter(|from| from.same_bare(&bare)) else {
                continue;
            };
            if stanza.get("type") == Some("error") {
                // Other occupants can send errors too, through the room.
                let asked = from
                    .resource()
                    .is_none_or(|shown| Some(shown) == occupant.resource());
                if !asked || stanza.get("id").is_some_and(|answered| answered != id) {
                    continue;
                }
                return Err(refused(
                    &bare,
                    &nick,
                    target.password.is_some(),
                    StanzaError::of(&stanza),
                ));
            }
            if let Some(joined) = ourselves(&stanza, Some(&from), &nick) {
                return Ok(joined);
            }
        }
    }

    /// True when an address that is meant as a person is a room.
    ///
    /// # Errors
    /// [`XmppError`] if the connection is lost or nobody answers. A refusal to answer is not an error.
    pub async fn is_room(&mut self, jid: &Jid) -> Result<bool, XmppError> {
        let answer = self
            .ask(&jid.to_bare().to_string(), Element::new("query", ns::DISCO_INFO))
            .await?;
        let identity = answer
            .find("query", ns::DISCO_INFO)
            .and_then(|query| query.find("identity", ns::DISCO_INFO));
        Ok(identity.and_then(|identity| identity.get("category")) == Some("conference"))
    }

    /// Sends a ping to another domain and returns the time until the answer. Any answer counts, also an error of the
    /// other side.
    ///
    /// # Errors
    /// [`XmppError::RemoteServerNotFound`] or [`XmppError::RemoteServerTimeout`] if our server does not reach the domain; those of a
    /// lost connection.
    pub async fn reach(&mut self, domain: &str) -> Result<Duration, XmppError> {
        let started = tokio::time::Instant::now();
        let answer = self.ask(domain, Element::new("ping", ns::PING)).await?;
        if answer.get("type") == Some("error") {
            let problem = StanzaError::of(&answer);
            let domain = domain.to_owned();
            match problem.condition.as_str() {
                "remote-server-not-found" => {
                    return Err(XmppError::RemoteServerNotFound {
                        domain,
                        text: problem.text,
                    });
                }
                "remote-server-timeout" => {
                    return Err(XmppError::RemoteServerTimeout {
                        domain,
                        text: problem.text,
                    });
                }
                _ => {}
            }
        }
        Ok(started.elapsed())
    }

    /// Ends the session in good order.
    pub async fn close(self) {
        self.online.stream.close(Duration::from_secs(1)).await;
    }

    async fn ask(&mut self, to: &str, payload: Element) -> Result<Element, XmppError> {
        upload::Alone {
            online: &mut self.online,
            account: &self.connector.account,
        }
        .ask(to, payload)
        .await
    }
}

fn ourselves(stanza: &Element, from: Option<&Jid>, nick: &str) -> Option<Joined> {
    let about = stanza.find("x", ns::MUC_USER)?;
    let has = |code: &str| {
        about
            .find_all("status", ns::MUC_USER)
            .any(|one| one.get("code") == Some(code))
    };
    let shown = from.and_then(Jid::resource).unwrap_or_default();
    if !has("110") && shown != nick {
        return None;
    }
    let item = about.find("item", ns::MUC_USER);
    let word = |name: &str| item.and_then(|item| item.get(name)).unwrap_or("none").to_owned();
    Some(Joined {
        nick: shown.to_owned(),
        affiliation: word("affiliation"),
        role: word("role"),
    })
}

fn refused(room: &Jid, nick: &str, given: bool, problem: StanzaError) -> XmppError {
    let room = room.clone();
    match problem.condition.as_str() {
        "conflict" => XmppError::NickTaken {
            room,
            nick: nick.to_owned(),
        },
        "registration-required" => XmppError::MembersOnly { room },
        "not-authorized" => XmppError::RoomPassword { room, given },
        "forbidden" => XmppError::Banned { room },
        "not-allowed" => XmppError::RoomCreationForbidden { room },
        "item-not-found" => XmppError::NoSuchRoom { room, removed: true },
        "jid-malformed" | "not-acceptable" => XmppError::BadNick { room },
        "service-unavailable" => XmppError::RoomFull { room },
        _ => XmppError::JoinRefused {
            room,
            temporary: problem.may_pass(ErrorOrigin::Room),
            condition: problem.condition,
            text: problem.text,
        },
    }
}
