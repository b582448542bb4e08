//! The login of newer servers: SASL2 (XEP-0388) with Bind 2 (XEP-0386) and tokens (XEP-0484).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{
    Attempt, Done, EARLY_STANZA_MAX_BYTES, Exchange, Resumption, StanzaError, decode, is_answer, resumable,
};
use crate::error::{Step, XmppError};
use crate::features::{Features, Sasl2};
use crate::id;
use crate::ns;
use crate::sasl::{self, Choice, FastLogin, MechanismKind, Offer};
use crate::stream::shorten;
use crate::token_store::{FastToken, SavedLogin};
use crate::xml::Element;

impl Attempt<'_> {
    /// Logs in with the data of an earlier login, before the server has announced its features. Returns `None` if that
    /// data does not fit this connection; nothing was sent then.
    pub(super) async fn by_token_store(
        &mut self,
        remembered: &SavedLogin,
    ) -> Result<Option<Done>, XmppError> {
        if let Some(token) = &remembered.token
            && !self.binding_rejected
            && let Some(login) = FastLogin::new(&token.mechanism, &token.secret, &self.link.bindings)
        {
            self.tried_saved = true;
            tracing::debug!(mechanism = %token.mechanism, "logging in by token");
            let choice = Choice {
                mechanism: token.mechanism.clone(),
                kind: MechanismKind::Plain,
                gs2: String::new(),
                binding: Vec::new(),
                binding_kind: None,
            };
            let first = login.first(self.user());
            let request = self.authenticate(&choice, &first, Some(remembered), None, true);
            self.link.stream.queue(&request);
            if self.plan.largest <= EARLY_STANZA_MAX_BYTES {
                self.queue_early()?;
            }
            return self
                .sasl2_rest(Exchange::Fast(login), &choice, None, Some(remembered))
                .await
                .map(Some);
        }
        let Some(mechanism) = &remembered.mechanism else {
            return Ok(None);
        };
        let offer = Offer {
            mechanisms: vec![mechanism.clone()],
            bindings: remembered.binding.clone().map(|kind| vec![kind]),
        };
        let Ok(choice) = self.choose(&offer) else {
            return Ok(None);
        };
        let MechanismKind::Scram(_) = choice.kind else {
            return Ok(None);
        };
        // It is not known yet whether the server offers -PLUS: claim nothing.
        let choice = if choice.binding_kind.is_none() {
            Choice {
                gs2: "n,,".to_owned(),
                ..choice
            }
        } else {
            choice
        };
        self.tried_saved = true;
        tracing::debug!(mechanism = %choice.mechanism, binding = choice.binding_kind, "logging in as remembered");
        let (exchange, first) = self.begin(&choice)?;
        let request = self.authenticate(&choice, &first, Some(remembered), None, false);
        self.link.stream.queue(&request);
        self.sasl2_rest(exchange, &choice, None, Some(remembered))
            .await
            .map(Some)
    }

    pub(super) async fn sasl2(&mut self, offer: &Sasl2) -> Result<Done, XmppError> {
        let choice = self.choose(&offer.offer)?;
        tracing::debug!(mechanism = %choice.mechanism, binding = choice.binding_kind, "logging in (SASL2)");
        let (exchange, first) = self.begin(&choice)?;
        let remembered = self.account.token_store.is_some().then(|| SavedLogin {
            user_agent: self
                .remembered
                .as_ref()
                .map_or_else(id::uuid, |known| known.user_agent.clone()),
            mechanism: Some(choice.mechanism.clone()),
            binding: choice.binding_kind.map(ToOwned::to_owned),
            token: None,
        });
        let token_for = remembered
            .as_ref()
            .and_then(|_| sasl::token_mechanism(&offer.fast, &self.link.bindings));
        let request = self.authenticate(&choice, &first, remembered.as_ref(), token_for, false);
        self.link.stream.queue(&request);
        self.sasl2_rest(exchange, &choice, Some((offer, token_for)), remembered.as_ref())
            .await
    }

    fn authenticate(
        &self,
        choice: &Choice,
        first: &[u8],
        remembered: Option<&SavedLogin>,
        token_for: Option<&str>,
        by_token: bool,
    ) -> String {
        let agent = remembered.map(|known| {
            Element::new("user-agent", ns::SASL2)
                .attr("id", known.user_agent.clone())
                .child(Element::new("software", ns::SASL2).text(self.account.software.clone()))
        });
        let mut bind = Element::new("bind", ns::BIND2)
            // Without a tag the server takes a random resource, and senders never meet.
            .child_opt(
                self.account
                    .jid
                    .resource()
                    .map(|tag| Element::new("tag", ns::BIND2).text(tag)),
            );
        let mut resume = None;
        match &self.plan.resumption {
            Resumption::Unwanted => {}
            Resumption::Wanted => bind.push(Element::new("enable", ns::SM).attr("resume", "true")),
            Resumption::Resume { id, handled } => {
                bind.push(Element::new("enable", ns::SM).attr("resume", "true"));
                resume = Some(
                    Element::new("resume", ns::SM)
                        .attr("h", handled.to_string())
                        .attr("previd", id.clone()),
                );
            }
        }
        Element::new("authenticate", ns::SASL2)
            .attr("mechanism", choice.mechanism.clone())
            .child(Element::new("initial-response", ns::SASL2).text(BASE64.encode(first)))
            .child_opt(agent)
            .child(bind)
            .child_opt(resume)
            .child_opt(token_for.map(|name| Element::new("request-token", ns::FAST).attr("mechanism", name)))
            .child_opt(by_token.then(|| Element::new("fast", ns::FAST)))
            .to_xml()
    }

    async fn sasl2_rest(
        &mut self,
        mut exchange: Exchange<'_>,
        choice: &Choice,
        offered: Option<(&Sasl2, Option<&'static str>)>,
        remembered: Option<&SavedLogin>,
    ) -> Result<Done, XmppError> {
        let limit = self.account.answer_timeout;
        let mut early_limit = EARLY_STANZA_MAX_BYTES;
        let mut early_sent = matches!(exchange, Exchange::Fast(_)) && self.plan.largest <= early_limit;
        // In a remembered login the features arrive only now, ahead of the challenge.
        let mut seen: Option<Sasl2> = offered.map(|(offer, _)| offer.clone());
        let mut features_due = seen.is_none();
        loop {
            let element = self
                .link
                .stream
                .expect(limit, Step::Login, self.domain, |element| {
                    is_answer(element, ns::SASL2)
                        || element.is("continue", ns::SASL2)
                        || features_due && element.is("features", ns::STREAM)
                })
                .await?;
            if element.is("features", ns::STREAM) {
                let features = Features::read(&element);
                self.check_encryption(&features)?;
                early_limit = features.max_bytes.unwrap_or(EARLY_STANZA_MAX_BYTES);
                seen = features.sasl2;
                features_due = false;
                continue;
            }
            match &*element.name {
                "challenge" => {
                    let message = decode(&element)?;
                    let offer = seen.as_ref().map(|seen| &seen.offer);
                    let answer = self.respond(&mut exchange, choice, offer, &message).await?;
                    let text = answer
                        .map(|answer| BASE64.encode(answer.as_bytes()))
                        .unwrap_or_default();
                    self.link
                        .stream
                        .queue(&format!("<response xmlns='{}'>{text}</response>", ns::SASL2));
                    if !early_sent && self.plan.largest <= early_limit {
                        early_sent = true;
                        self.queue_early()?;
                    }
                }
                "success" => {
                    let data = element
                        .find("additional-data", ns::SASL2)
                        .map(decode)
                        .transpose()?;
                    self.finish(&exchange, false, data.as_deref())?;
                    if !early_sent {
                        if self.plan.largest > EARLY_STANZA_MAX_BYTES {
                            // The features follow; a server that leaves them out announces no limit.
                            if let Ok(features) = self.features().await {
                                self.max_bytes = features.max_bytes;
                            }
                        }
                        self.queue_early()?;
                    }
                    self.remember(&element, remembered, offered.and_then(|(_, token)| token));
                    return self.success(&element);
                }
                "failure" => return Err(self.failure(&element, ns::SASL2, choice)),
                "continue" => {
                    return Err(XmppError::LoginRefused {
                        condition: "the server wants another step besides the password".to_owned(),
                        text: element.content_of("text", ns::SASL2).map(shorten),
                    });
                }
                _ => {}
            }
        }
    }

    fn success(&self, element: &Element) -> Result<Done, XmppError> {
        let jid = element
            .content_of("authorization-identifier", ns::SASL2)
            .and_then(|jid| jid.trim().parse().ok())
            .unwrap_or_else(|| self.account.jid.clone());
        if let Some(resumed) = element.find("resumed", ns::SM) {
            let handled = resumed.get("h").and_then(|h| h.parse().ok()).unwrap_or_default();
            let id = resumed.get("previd").map(ToOwned::to_owned);
            return Ok(Done {
                jid,
                resumable_as: id,
                resumed: Some(handled),
            });
        }
        if let Some(failed) = element.find("failed", ns::BIND2) {
            let problem = StanzaError::of(failed);
            return Err(XmppError::BindRefused {
                condition: problem.condition,
                text: problem.text,
            });
        }
        let Some(bound) = element.find("bound", ns::BIND2) else {
            return Err(XmppError::BindRefused {
                condition: "the server let us in but bound no resource".to_owned(),
                text: None,
            });
        };
        Ok(Done {
            jid,
            resumable_as: bound.find("enabled", ns::SM).and_then(resumable),
            resumed: None,
        })
    }

    /// Stores what makes the next login quicker.
    fn remember(&self, success: &Element, remembered: Option<&SavedLogin>, token_for: Option<&'static str>) {
        let (Some(store), Some(remembered)) = (&self.account.token_store, remembered) else {
            return;
        };
        let mut next = remembered.clone();
        if let Some(token) = success.find("token", ns::FAST)
            && let Some(secret) = token.get("token")
        {
            let mechanism = token_for
                .map(ToOwned::to_owned)
                .or_else(|| remembered.token.as_ref().map(|old| old.mechanism.clone()))
                .unwrap_or_else(|| "HT-SHA-256-NONE".to_owned());
            next.token = Some(FastToken {
                mechanism,
                secret: secret.to_owned().into(),
                expiry: token.get("expiry").map(ToOwned::to_owned),
            });
            store.store(next);
        } else if token_for.is_some() || remembered.token.is_none() {
            store.store(next);
        }
    }
}
