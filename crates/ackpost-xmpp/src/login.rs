//! From a connection to a session, in as few round trips as the server allows.
//!
//! The stanzas to send can follow the last message of the login in the same write (`early`). If the login
//! is refused, servers deliver none of them.

mod sasl2;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::account::{Account, Mode};
use crate::connect::{Connector, Link, REDIRECTS_MAX, read_features};
use crate::dns::Endpoint;
use crate::error::{Step, XmppError};
use crate::features::Features;
use crate::id;
use crate::jid::Jid;
use crate::message::Note;
use crate::ns;
use crate::sasl::{self, Choice, FastLogin, MechanismKind, Offer, Proof, Rules, Scram};
use crate::stanza_error::StanzaError;
use crate::stream::{Stream, header, shorten};
use crate::token_store::SavedLogin;
use crate::xml::Element;

/// Stanzas sent before the login is over must be small: Prosody 13 takes 10 000 bytes each then. If a server announces
/// its limit (XEP-0478), that limit counts.
const EARLY_STANZA_MAX_BYTES: usize = 9_000;

/// Work to do besides the login.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Stanzas, already written out, to send as early as possible.
    pub(crate) early: String,
    /// The size of the largest of them in bytes.
    pub(crate) largest: usize,
    /// Ask for a session that can be resumed (XEP-0198), or resume one.
    pub(crate) resumption: Resumption,
}

#[derive(Clone, Debug, Default)]
pub(crate) enum Resumption {
    #[default]
    Unwanted,
    Wanted,
    Resume {
        id: String,
        handled: u32,
    },
}

/// A session: logged in and bound.
pub(crate) struct Online {
    pub(crate) stream: Stream,
    /// Our full address; the bare one when the server resumed an old session.
    pub(crate) jid: Jid,
    /// The session can be resumed under this id.
    pub(crate) resumable_as: Option<String>,
    /// The old session goes on; the server has handled so many of our stanzas.
    pub(crate) resumed: Option<u32>,
    /// The largest stanza in bytes that the server announced after the login (XEP-0478).
    pub(crate) max_bytes: Option<usize>,
    pub(crate) without_binding: bool,
    pub(crate) verified: bool,
    pub(crate) encrypted: bool,
    /// Time when the stanzas that rode along with the login were written.
    pub(crate) early_queued: Option<Instant>,
}

impl Online {
    /// Returns the notes about the login that every message of this connection carries.
    pub(crate) fn notes(&self) -> Vec<Note> {
        let binding = self.without_binding.then_some(Note::WithoutChannelBinding);
        let certificate = (self.encrypted && !self.verified).then_some(Note::CertificateNotVerified);
        binding.into_iter().chain(certificate).collect()
    }
}

/// Returns true if the login or session was refused: nothing that was sent behind it was delivered.
fn delivers_nothing(error: &XmppError) -> bool {
    refused_by_server(error) && !matches!(error, XmppError::StreamError { .. })
        || matches!(
            error,
            XmppError::BindRefused { .. }
                | XmppError::AccountDisabled { .. }
                | XmppError::LoginUnavailable { .. }
        )
}

/// Connects and logs in, with the one fallback each that is allowed: without the token or the
/// remembered features when the server refuses them, and without channel binding when it rejects that.
pub(crate) async fn open(connector: &Connector, plan: &Plan) -> Result<Online, XmppError> {
    let mut binding_rejected = false;
    let mut use_saved = connector.account.token_store.is_some();
    let mut elsewhere = None;
    let mut redirects = 0;
    loop {
        let link = connector.connect(elsewhere.as_ref()).await?;
        let mut attempt = Attempt {
            account: &connector.account,
            domain: connector.account.jid.domain(),
            plan,
            link,
            binding_rejected,
            remembered: connector
                .account
                .token_store
                .as_ref()
                .and_then(|store| store.recall()),
            tried_saved: false,
            early_queued: None,
            max_bytes: None,
        };
        let result = attempt.run(use_saved).await;
        let tried_saved = attempt.tried_saved;
        let max_bytes = attempt.max_bytes;
        let error = match result {
            Ok(done) => {
                return Ok(Online {
                    stream: attempt.link.stream,
                    jid: done.jid,
                    resumable_as: done.resumable_as,
                    resumed: done.resumed,
                    max_bytes,
                    without_binding: binding_rejected,
                    verified: attempt.link.verified,
                    encrypted: attempt.link.encrypted,
                    early_queued: attempt.early_queued,
                });
            }
            Err(error) => error,
        };
        if tried_saved && refused_by_server(&error) {
            tracing::debug!(%error, "the remembered login was refused; starting clean");
            if let Some(store) = &connector.account.token_store {
                store.forget();
            }
            use_saved = false;
            continue;
        }
        if matches!(error, XmppError::ChannelBindingRejected { .. })
            && connector.account.channel_binding == crate::ChannelBinding::Auto
            && !binding_rejected
        {
            tracing::warn!(
                domain = connector.account.jid.domain(),
                "the server rejected the channel binding it offered; logging in once more without it"
            );
            binding_rejected = true;
            continue;
        }
        // Said before the login is over, so that nothing behind it was delivered.
        if let XmppError::SeeOtherHost { to, .. } = &error
            && redirects < REDIRECTS_MAX
            && let Some(next) = Endpoint::redirected(to, attempt.link.mode)
        {
            tracing::debug!(%to, "the server sends its clients to another host");
            redirects += 1;
            elsewhere = Some(next);
            continue;
        }
        return Err(if attempt.early_queued.is_some() && !delivers_nothing(&error) {
            error.after_writing()
        } else {
            error
        });
    }
}

/// Returns true if the server itself turned the login down, so that nothing sent behind it was delivered.
fn refused_by_server(error: &XmppError) -> bool {
    matches!(
        error,
        XmppError::WrongPassword { .. }
            | XmppError::CredentialsExpired { .. }
            | XmppError::LoginRefused { .. }
            | XmppError::ChannelBindingRejected { .. }
            | XmppError::StreamError { .. }
            | XmppError::LoginProtocol { .. }
            | XmppError::Downgraded
    )
}

struct Attempt<'a> {
    account: &'a Account,
    domain: &'a str,
    plan: &'a Plan,
    link: Link,
    binding_rejected: bool,
    remembered: Option<SavedLogin>,
    tried_saved: bool,
    /// Time when the stanzas behind the login were written: if the connection breaks now, they may have been taken.
    early_queued: Option<Instant>,
    /// The largest stanza that the server takes after the login, as far as it was read.
    max_bytes: Option<usize>,
}

struct Done {
    jid: Jid,
    resumable_as: Option<String>,
    resumed: Option<u32>,
}

/// A running exchange, against which the server's next message is checked.
enum Exchange<'t> {
    Scram { scram: Scram, proof: Option<Proof> },
    Plain,
    Fast(FastLogin<'t>),
}

impl Attempt<'_> {
    async fn run(&mut self, use_saved: bool) -> Result<Done, XmppError> {
        let bare = self.account.jid.to_bare().to_string();
        let from = self.link.encrypted.then_some(bare.as_str());
        let head = header(self.domain, from);
        self.link.stream.queue(&head);
        if use_saved
            && let Some(remembered) = self.remembered.clone()
            && let Some(done) = self.by_token_store(&remembered).await?
        {
            return Ok(done);
        }
        let features = self.features().await?;
        self.check_encryption(&features)?;
        match &features.sasl2 {
            Some(offer) => self.sasl2(offer).await,
            None => self.sasl1(&features).await,
        }
    }

    /// Queues what rides along; nothing of it when one stanza is larger than the server takes.
    fn queue_early(&mut self) -> Result<(), XmppError> {
        crate::stanza::fits(self.plan.largest, self.max_bytes)?;
        if !self.plan.early.is_empty() {
            self.early_queued = Some(Instant::now());
        }
        self.link.stream.queue(&self.plan.early);
        Ok(())
    }

    /// Reads the features of the server after the login, and the maximum size of a stanza from now on.
    async fn features_after_login(&mut self) -> Result<Features, XmppError> {
        let features = self.features().await?;
        self.max_bytes = features.max_bytes;
        Ok(features)
    }

    async fn features(&mut self) -> Result<Features, XmppError> {
        read_features(&mut self.link.stream, self.account.answer_timeout, self.domain).await
    }

    fn check_encryption(&self, features: &Features) -> Result<(), XmppError> {
        let nothing = features.sasl.mechanisms.is_empty() && features.sasl2.is_none();
        if !self.link.encrypted && features.starttls && (features.starttls_required || nothing) {
            return Err(XmppError::TlsRequired {
                domain: self.domain.to_owned(),
            });
        }
        if nothing && features.iq_auth {
            return Err(XmppError::OnlyIqAuth {
                domain: self.domain.to_owned(),
            });
        }
        debug_assert!(self.link.encrypted || self.account.mode == Some(Mode::None));
        Ok(())
    }

    fn choose(&self, offer: &Offer) -> Result<Choice, XmppError> {
        sasl::choose(
            offer,
            &Rules {
                policy: self.account.channel_binding,
                binding_rejected: self.binding_rejected,
                bindings: &self.link.bindings,
                plain: self.account.plain,
                encrypted: self.link.encrypted,
                verified: self.link.verified,
                loopback: self.link.loopback,
                domain: self.domain,
            },
        )
    }

    fn user(&self) -> &str {
        self.account.jid.local().unwrap_or_default()
    }

    fn begin(&self, choice: &Choice) -> Result<(Exchange<'static>, Zeroizing<Vec<u8>>), XmppError> {
        match choice.kind {
            MechanismKind::Plain => Ok((Exchange::Plain, sasl::plain(self.user(), &self.account.password)?)),
            MechanismKind::Scram(hash) => {
                let scram = Scram::new(hash, choice, self.user(), id::nonce());
                let first = Zeroizing::new(scram.first().into_bytes());
                Ok((Exchange::Scram { scram, proof: None }, first))
            }
        }
    }

    /// Answers a challenge; `None` when there is nothing more to say than an empty response.
    async fn respond(
        &self,
        exchange: &mut Exchange<'_>,
        choice: &Choice,
        offer: Option<&Offer>,
        message: &[u8],
    ) -> Result<Option<Zeroizing<String>>, XmppError> {
        let unexpected = XmppError::LoginProtocol {
            reason: "a challenge that was not expected",
        };
        let Exchange::Scram { scram, proof } = exchange else {
            return Err(unexpected);
        };
        if let Some(proof) = proof {
            // Some servers send their proof as its own challenge.
            return if proof.check(message) {
                Ok(None)
            } else {
                Err(self.not_proven())
            };
        }
        let MechanismKind::Scram(hash) = choice.kind else {
            return Err(unexpected);
        };
        let challenge = scram.challenge(message)?;
        if let Some(offer) = offer {
            scram.check_offer(&challenge, offer)?;
        }
        let salted = sasl::salted_password(
            hash,
            &self.account.password,
            challenge.salt.clone(),
            challenge.iterations,
        )
        .await?;
        let (answer, expected) = scram.answer(&challenge, &salted);
        *proof = Some(expected);
        Ok(Some(answer))
    }

    /// Checks the proof that came with the success. An absent proof and a wrong one are both fatal.
    fn finish(&self, exchange: &Exchange<'_>, already: bool, data: Option<&[u8]>) -> Result<(), XmppError> {
        let proven = match exchange {
            Exchange::Plain => true,
            Exchange::Fast(login) => data.is_some_and(|data| login.check(data)),
            Exchange::Scram { proof, .. } => match (proof, data) {
                (Some(proof), Some(data)) => proof.check(data),
                (Some(_), None) => already,
                (None, _) => false,
            },
        };
        if proven { Ok(()) } else { Err(self.not_proven()) }
    }

    fn not_proven(&self) -> XmppError {
        XmppError::ServerNotProven {
            jid: self.account.jid.to_bare(),
        }
    }

    // --- RFC 6120 ---

    async fn sasl1(&mut self, features: &Features) -> Result<Done, XmppError> {
        let limit = self.account.answer_timeout;
        let choice = self.choose(&features.sasl)?;
        tracing::debug!(mechanism = %choice.mechanism, binding = choice.binding_kind, "logging in");
        let (mut exchange, first) = self.begin(&choice)?;
        let text = Zeroizing::new(BASE64.encode(&*first));
        self.link.stream.queue(&format!(
            "<auth xmlns='{}' mechanism='{}'>{}</auth>",
            ns::SASL,
            choice.mechanism,
            &**text
        ));
        let mut already_proven = false;
        loop {
            let element = self
                .link
                .stream
                .expect(limit, Step::Login, self.domain, |element| {
                    is_answer(element, ns::SASL)
                })
                .await?;
            match &*element.name {
                "challenge" => {
                    let message = decode(&element)?;
                    let answer = self
                        .respond(&mut exchange, &choice, Some(&features.sasl), &message)
                        .await?;
                    already_proven |= answer.is_none();
                    let text = answer
                        .map(|answer| BASE64.encode(answer.as_bytes()))
                        .unwrap_or_default();
                    self.link
                        .stream
                        .queue(&format!("<response xmlns='{}'>{text}</response>", ns::SASL));
                }
                "success" => {
                    let data = decode(&element)?;
                    let data = (!data.is_empty()).then_some(&data[..]);
                    self.finish(&exchange, already_proven, data)?;
                    break;
                }
                "failure" => return Err(self.failure(&element, ns::SASL, &choice)),
                _ => {}
            }
        }
        self.link.stream.restart();
        self.begin_session(limit).await
    }

    /// Opens the stream of the account that is logged in, and binds or resumes a session.
    async fn begin_session(&mut self, limit: Duration) -> Result<Done, XmppError> {
        let bare = self.account.jid.to_bare().to_string();
        self.link
            .stream
            .queue(&header(self.domain, self.link.encrypted.then_some(bare.as_str())));
        match self.plan.resumption.clone() {
            Resumption::Unwanted => {
                // Every server takes small stanzas; before a large one its limit is read, at the cost of a round trip.
                if self.plan.largest > EARLY_STANZA_MAX_BYTES {
                    self.features_after_login().await?;
                }
                self.bind(true).await
            }
            Resumption::Wanted => self.bind_resumable().await,
            Resumption::Resume { id, handled } => {
                let resume = Element::new("resume", ns::SM)
                    .attr("h", handled.to_string())
                    .attr("previd", id.clone());
                self.link.stream.queue(&resume.to_xml());
                let element = self
                    .link
                    .stream
                    .expect(limit, Step::Binding, self.domain, |element| {
                        element.is("resumed", ns::SM) || element.is("failed", ns::SM)
                    })
                    .await?;
                if element.name == "failed" {
                    return self.bind_resumable_now().await;
                }
                let handled = element.get("h").and_then(|h| h.parse().ok()).unwrap_or_default();
                Ok(Done {
                    jid: self.account.jid.clone(),
                    resumable_as: Some(id),
                    resumed: Some(handled),
                })
            }
        }
    }

    /// Binds a resource; the stanzas to send go along in the same write.
    async fn bind(&mut self, with_early: bool) -> Result<Done, XmppError> {
        let limit = self.account.answer_timeout;
        let bind = Element::new("bind", ns::BIND).child_opt(
            self.account
                .jid
                .resource()
                .map(|resource| Element::new("resource", ns::BIND).text(resource)),
        );
        let id = format!("bind-{}", id::short());
        let iq = Element::new("iq", ns::CLIENT)
            .attr("type", "set")
            .attr("id", id.clone())
            .child(bind);
        self.link.stream.queue(&iq.to_xml());
        if with_early {
            self.queue_early()?;
        }
        let element = self
            .link
            .stream
            .expect(limit, Step::Binding, self.domain, |element| {
                element.is("iq", ns::CLIENT) && element.get("id") == Some(&id)
            })
            .await?;
        if element.get("type") == Some("error") {
            let problem = StanzaError::of(&element);
            return Err(XmppError::BindRefused {
                condition: problem.condition,
                text: problem.text,
            });
        }
        let jid = element
            .find("bind", ns::BIND)
            .and_then(|bind| bind.content_of("jid", ns::BIND))
            .and_then(|jid| jid.parse().ok())
            .unwrap_or_else(|| self.account.jid.clone());
        Ok(Done {
            jid,
            resumable_as: None,
            resumed: None,
        })
    }

    /// For kept sessions: a resource, and XEP-0198 where the server has it, then the stanzas to send.
    async fn bind_resumable(&mut self) -> Result<Done, XmppError> {
        let features = self.features_after_login().await?;
        if !features.resumable {
            return self.bind(true).await;
        }
        self.bind_resumable_now().await
    }

    async fn bind_resumable_now(&mut self) -> Result<Done, XmppError> {
        let limit = self.account.answer_timeout;
        let mut done = self.bind(false).await?;
        let enable = Element::new("enable", ns::SM).attr("resume", "true");
        self.link.stream.queue(&enable.to_xml());
        let element = self
            .link
            .stream
            .expect(limit, Step::Binding, self.domain, |element| {
                element.is("enabled", ns::SM) || element.is("failed", ns::SM)
            })
            .await?;
        if element.name == "enabled" {
            done.resumable_as = resumable(&element);
        }
        self.queue_early()?;
        Ok(done)
    }

    fn failure(&self, element: &Element, ns: &str, choice: &Choice) -> XmppError {
        let text = element
            .content_of("text", ns)
            .map(shorten)
            .filter(|text| !text.is_empty());
        // SASL2 keeps the conditions of RFC 6120 in their own namespace.
        let condition = element
            .elements()
            .find(|child| child.name != "text" && (child.ns == ns || child.ns == ns::SASL))
            .map_or_else(|| "not-authorized".to_owned(), |child| child.name.to_string());
        let about_binding = text.as_deref().is_some_and(|text| {
            let text = text.to_lowercase();
            text.contains("channel binding") || text.contains("channel-binding")
        });
        // A server that could bind rejects `y`, which says that it could not: somebody removed its offer, or a relay
        // ends TLS before it. Prosody answers malformed-request, without a text.
        let claimed = choice.gs2.starts_with('y');
        let bound = choice.binding_kind.is_some();
        if (bound || claimed) && about_binding
            || claimed && text.is_none() && condition == "malformed-request"
        {
            return XmppError::ChannelBindingRejected { text };
        }
        let jid = self.account.jid.to_bare();
        match condition.as_str() {
            "not-authorized" => XmppError::WrongPassword { jid, bound, text },
            "account-disabled" => XmppError::AccountDisabled { jid, text },
            "credentials-expired" => XmppError::CredentialsExpired { jid, text },
            "temporary-auth-failure" => XmppError::LoginUnavailable { text },
            "encryption-required" if !self.link.encrypted => XmppError::TlsRequired {
                domain: self.domain.to_owned(),
            },
            _ => XmppError::LoginRefused { condition, text },
        }
    }
}

/// Returns true if this is a word of the server in the exchange of this protocol (SASL or SASL 2).
fn is_answer(element: &Element, ns: &str) -> bool {
    element.ns == ns && matches!(&*element.name, "challenge" | "success" | "failure")
}

fn decode(element: &Element) -> Result<Vec<u8>, XmppError> {
    let text = element.content();
    let text = text.trim();
    if text.is_empty() || text == "=" {
        return Ok(Vec::new());
    }
    BASE64.decode(text).map_err(|_| XmppError::LoginProtocol {
        reason: "a message that is not base64",
    })
}

fn resumable(enabled: &Element) -> Option<String> {
    let resume = matches!(enabled.get("resume"), Some("true" | "1"));
    enabled.get("id").filter(|_| resume).map(ToOwned::to_owned)
}
