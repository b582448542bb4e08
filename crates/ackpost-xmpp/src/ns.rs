//! XML namespaces, each under the name of its specification.

/// RFC 6120: stanzas between client and server.
pub(crate) const CLIENT: &str = "jabber:client";
/// RFC 6120: the stream itself.
pub(crate) const STREAM: &str = "http://etherx.jabber.org/streams";
/// RFC 6120: STARTTLS.
pub(crate) const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// RFC 6120: SASL.
pub(crate) const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// RFC 6120: resource binding.
pub(crate) const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// RFC 6120: stanza error conditions.
pub(crate) const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// RFC 6121: contact list.
pub(crate) const ROSTER: &str = "jabber:iq:roster";
/// XEP-0004: Data Forms.
pub(crate) const DATA_FORMS: &str = "jabber:x:data";
/// XEP-0012: Last Activity; of a server, how long it has been up.
pub(crate) const IQ_AUTH: &str = "http://jabber.org/features/iq-auth";
pub(crate) const MUC_ROOM_CONFIG: &str = "http://jabber.org/protocol/muc#roomconfig";
pub(crate) const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";
pub(crate) const LAST: &str = "jabber:iq:last";
/// XEP-0013: Flexible Offline Message Retrieval.
pub(crate) const OFFLINE: &str = "http://jabber.org/protocol/offline";
/// XEP-0030: Service Discovery, information.
pub(crate) const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// XEP-0030: Service Discovery, items.
pub(crate) const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// XEP-0045: Multi-User Chat.
pub(crate) const BLOCKING_ERRORS: &str = "urn:xmpp:blocking:errors";
pub(crate) const MUC: &str = "http://jabber.org/protocol/muc";
/// XEP-0045: messages of a room to its occupants.
pub(crate) const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// XEP-0045: what owners do.
pub(crate) const MUC_OWNER: &str = "http://jabber.org/protocol/muc#owner";
/// XEP-0066: Out of Band Data.
pub(crate) const OOB: &str = "jabber:x:oob";
/// XEP-0071: XHTML-IM.
pub(crate) const XHTML_IM: &str = "http://jabber.org/protocol/xhtml-im";
/// XHTML, inside XEP-0071.
pub(crate) const XHTML: &str = "http://www.w3.org/1999/xhtml";
/// XEP-0184: Message Delivery Receipts.
pub(crate) const RECEIPTS: &str = "urn:xmpp:receipts";
/// XEP-0198: Stream Management.
pub(crate) const SM: &str = "urn:xmpp:sm:3";
/// XEP-0199: XMPP Ping.
pub(crate) const PING: &str = "urn:xmpp:ping";
/// XEP-0203: Delayed Delivery.
pub(crate) const DELAY: &str = "urn:xmpp:delay";
/// XEP-0115: Entity Capabilities.
pub(crate) const CAPS: &str = "http://jabber.org/protocol/caps";
/// XEP-0280: Message Carbons.
pub(crate) const CARBONS: &str = "urn:xmpp:carbons:2";
/// XEP-0297: Stanza Forwarding.
pub(crate) const FORWARD: &str = "urn:xmpp:forward:0";
/// XEP-0308: Last Message Correction.
pub(crate) const CORRECT: &str = "urn:xmpp:message-correct:0";
/// XEP-0313: Message Archive Management.
pub(crate) const MAM: &str = "urn:xmpp:mam:2";
/// XEP-0059: Result Set Management.
pub(crate) const RSM: &str = "http://jabber.org/protocol/rsm";
/// XEP-0359: Unique and Stable Stanza IDs.
pub(crate) const SID: &str = "urn:xmpp:sid:0";
/// XEP-0363: HTTP File Upload.
pub(crate) const UPLOAD: &str = "urn:xmpp:http:upload:0";
/// XEP-0386: Bind 2.
pub(crate) const BIND2: &str = "urn:xmpp:bind:0";
/// XEP-0388: Extensible SASL Profile.
pub(crate) const SASL2: &str = "urn:xmpp:sasl:2";
/// XEP-0393: Message Styling.
pub(crate) const STYLING: &str = "urn:xmpp:styling:0";
/// XEP-0440: SASL Channel-Binding Type Capability.
pub(crate) const SASL_CB: &str = "urn:xmpp:sasl-cb:0";
/// XEP-0444: Message Reactions.
pub(crate) const REACTIONS: &str = "urn:xmpp:reactions:0";
/// XEP-0478: Stream Limits Advertisement.
pub(crate) const LIMITS: &str = "urn:xmpp:stream-limits:0";
/// XEP-0484: Fast Authentication Streamlining Tokens.
pub(crate) const FAST: &str = "urn:xmpp:fast:0";
/// XEP-0060: Publish-Subscribe.
#[cfg(feature = "omemo")]
pub(crate) const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// XEP-0060: what owners of nodes do.
#[cfg(feature = "omemo")]
pub(crate) const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
/// XEP-0060: conditions of its errors.
#[cfg(feature = "omemo")]
pub(crate) const PUBSUB_ERRORS: &str = "http://jabber.org/protocol/pubsub#errors";
/// XEP-0060: changes of nodes.
#[cfg(feature = "omemo")]
pub(crate) const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
/// XEP-0045: what admins do.
#[cfg(feature = "omemo")]
pub(crate) const MUC_ADMIN: &str = "http://jabber.org/protocol/muc#admin";
/// XEP-0334: Message Processing Hints.
pub(crate) const HINTS: &str = "urn:xmpp:hints";
/// XEP-0380: Explicit Message Encryption.
#[cfg(feature = "omemo")]
pub(crate) const EME: &str = "urn:xmpp:eme:0";
/// XEP-0461: Message Replies.
pub(crate) const REPLY: &str = "urn:xmpp:reply:0";
/// XEP-0428: Fallback Indication.
pub(crate) const FALLBACK: &str = "urn:xmpp:fallback:0";
/// XEP-0424: Message Retraction.
pub(crate) const RETRACT: &str = "urn:xmpp:message-retract:1";
/// XEP-0424 before version 0.4, as rooms of older servers still send it for moderators.
pub(crate) const RETRACT_0: &str = "urn:xmpp:message-retract:0";
/// XEP-0425: Moderated Message Retraction.
pub(crate) const MODERATE: &str = "urn:xmpp:message-moderate:1";
/// XEP-0425 before version 0.3.
pub(crate) const MODERATE_0: &str = "urn:xmpp:message-moderate:0";
/// XEP-0422: Message Fastening, around the older retraction by a moderator.
pub(crate) const FASTEN: &str = "urn:xmpp:fasten:0";
/// Mark of messages that a bridge of Ackpost carried.
pub(crate) const BRIDGE: &str = "urn:ackpost:bridge:0";
