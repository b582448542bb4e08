//! Device lists and bundles over PEP (XEP-0163): the questions, and the meaning of the servers' answers.
//!
//! | Answer to a question about another account | Meaning |
//! |---|---|
//! | item-not-found | no devices; ejabberd always, Prosody 13 |
//! | forbidden | no devices that we may see: Prosody 0.12 says so of a missing node, an unknown user and a node that is not open |
//! | not-authorized, presence-subscription-required | no devices that we may see: ejabberd |
//! | service-unavailable, feature-not-implemented | no devices: the server has no PEP, or there is no such user |
//! | a result without an item | no devices, or no bundle |
//! | everything else, no answer in time | later |

use std::time::Duration;

use ::omemo::xml::Element as Tree;
use ::omemo::{Bundle, DeviceId, DeviceList, Version};

use super::element::{from_omemo, to_omemo};
use super::error::OmemoError;
use super::server::{Answer, Question, Server};
use super::store::Address;
use crate::error::XmppError;
use crate::ns;
use crate::stanza_error::StanzaError;
use crate::xml::Element;

/// Both versions, the older one first.
pub(crate) const VERSIONS: [Version; 2] = [Version::Axolotl, Version::Omemo2];

/// Result of asking for an item.
#[derive(Debug)]
pub(super) enum Fetched<T> {
    /// The item exists.
    There(T),
    /// The item exists and cannot be used.
    Broken,
    /// The item does not exist, or we may not read it.
    Nothing,
    /// The result is not known yet, for this reason.
    Later(String),
}

/// Asks for the device list of an account; an empty address means the own one.
pub(super) fn list_question(to: &str, version: Version) -> Question {
    let items = Element::new("items", ns::PUBSUB)
        .attr("node", version.device_list_node())
        .attr("max_items", "1");
    Question::get(to, Element::new("pubsub", ns::PUBSUB).child(items))
}

/// Asks for the bundle of a device.
pub(super) fn bundle_question(to: &str, address: &Address) -> Question {
    let (node, item) = address.version.bundle_address(address.device);
    let mut items = Element::new("items", ns::PUBSUB).attr("node", node);
    if address.version == Version::Omemo2 {
        items.push(Element::new("item", ns::PUBSUB).attr("id", item));
    }
    Question::get(to, Element::new("pubsub", ns::PUBSUB).child(items))
}

/// Removes the bundle of a device of the own account.
pub(super) fn bundle_removal(version: Version, device: DeviceId) -> Question {
    let (node, item) = version.bundle_address(device);
    match version {
        // Its own node.
        Version::Axolotl => {
            let delete = Element::new("delete", ns::PUBSUB_OWNER).attr("node", node);
            Question::set(Element::new("pubsub", ns::PUBSUB_OWNER).child(delete))
        }
        Version::Omemo2 => {
            let item = Element::new("item", ns::PUBSUB).attr("id", item);
            let retract = Element::new("retract", ns::PUBSUB).attr("node", node).child(item);
            Question::set(Element::new("pubsub", ns::PUBSUB).child(retract))
        }
    }
}

/// Asks for the configuration of a node of the own account.
pub(super) fn config_question(node: &str) -> Question {
    let configure = Element::new("configure", ns::PUBSUB_OWNER).attr("node", node);
    Question::get("", Element::new("pubsub", ns::PUBSUB_OWNER).child(configure))
}

/// Returns the value of a field in the answer to [`config_question`].
pub(super) fn config_value(answer: &Element, field: &str) -> Option<String> {
    answer
        .find("pubsub", ns::PUBSUB_OWNER)?
        .find("configure", ns::PUBSUB_OWNER)?
        .find("x", ns::DATA_FORMS)?
        .find_all("field", ns::DATA_FORMS)
        .find(|found| found.get("var") == Some(field))?
        .content_of("value", ns::DATA_FORMS)
}

/// The payloads in an answer or event, each with its item id. There may be many, although one was asked for.
fn payloads<'a>(items: &'a Element, ns: &'a str) -> impl Iterator<Item = (Option<&'a str>, &'a Element)> {
    items
        .find_all("item", ns)
        .filter_map(|item| Some((item.get("id"), item.elements().next()?)))
}

/// Reads the payload that `read` takes: of the item with this id, else of the last one.
fn read_item<T>(
    answer: &Result<Answer, XmppError>,
    id: &str,
    read: impl Fn(&Tree) -> Option<T>,
) -> Fetched<T> {
    let stanza = match answer {
        Ok(answer) => &answer.stanza,
        Err(error) => return Fetched::Later(error.to_string()),
    };
    if stanza.get("type") == Some("error") {
        let error = StanzaError::of(stanza);
        return match error.condition.as_str() {
            "item-not-found"
            | "forbidden"
            | "not-authorized"
            | "service-unavailable"
            | "feature-not-implemented" => Fetched::Nothing,
            condition => Fetched::Later(condition.to_owned()),
        };
    }
    let items = stanza
        .find("pubsub", ns::PUBSUB)
        .and_then(|pubsub| pubsub.find("items", ns::PUBSUB));
    let all: Vec<_> = items
        .into_iter()
        .flat_map(|items| payloads(items, ns::PUBSUB))
        .collect();
    let chosen = all
        .iter()
        .find(|(item, _)| *item == Some(id))
        .or_else(|| all.last());
    match chosen {
        None => Fetched::Nothing,
        Some((_, payload)) => read(&to_omemo(payload)).map_or(Fetched::Broken, Fetched::There),
    }
}

/// Reads the answer to [`list_question`].
pub(super) fn read_list(answer: &Result<Answer, XmppError>, version: Version) -> Fetched<DeviceList> {
    read_item(answer, "current", |tree| {
        DeviceList::from_element(tree)
            .ok()
            .filter(|list| list.version() == version)
    })
}

/// Reads the answer to [`bundle_question`].
pub(super) fn read_bundle(answer: &Result<Answer, XmppError>, address: &Address) -> Fetched<Bundle> {
    let (_, item) = address.version.bundle_address(address.device);
    read_item(answer, &item, |tree| {
        Bundle::from_element(tree)
            .ok()
            .filter(|bundle| bundle.version == address.version)
            .filter(|bundle| bundle.verify().is_ok())
    })
}

/// Reads a device list from an event (XEP-0060 section 12.2).
pub(crate) fn list_of_event(message: &Element) -> Option<DeviceList> {
    let items = message
        .find("event", ns::PUBSUB_EVENT)?
        .find("items", ns::PUBSUB_EVENT)?;
    let version = VERSIONS
        .into_iter()
        .find(|version| items.get("node") == Some(version.device_list_node()))?;
    let all: Vec<_> = payloads(items, ns::PUBSUB_EVENT).collect();
    let (_, payload) = all
        .iter()
        .find(|(id, _)| *id == Some("current"))
        .or_else(|| all.last())?;
    DeviceList::from_element(&to_omemo(payload))
        .ok()
        .filter(|list| list.version() == version)
}

/// Pauses between attempts while the server fails at a question that it understands.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
];

/// Options that go with an item.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Options {
    All,
    WithoutMaxItems,
    /// The node is configured already.
    None,
}

/// An item to publish on a node of the own account.
#[derive(Clone)]
pub(super) struct Item {
    node: String,
    id: String,
    payload: Element,
    /// Number of items that the node has to keep: `1`, or `max`. Servers refuse other numbers.
    max_items: &'static str,
}

impl Item {
    pub(super) fn bundle(address: &Address, bundle: &Tree) -> Self {
        let (node, id) = address.version.bundle_address(address.device);
        Self {
            node,
            id,
            payload: from_omemo(bundle),
            max_items: match address.version {
                Version::Axolotl => "1",
                // One node for all devices of the account.
                Version::Omemo2 => "max",
            },
        }
    }

    pub(super) fn list(list: &DeviceList) -> Self {
        Self {
            node: list.version().device_list_node().to_owned(),
            id: "current".to_owned(),
            payload: from_omemo(&list.to_element()),
            max_items: "1",
        }
    }

    /// Only options that every server knows; `max_items` can be left out.
    fn form(&self, of: &str, max_items: bool) -> Element {
        let field = |name: String, value: &str| {
            Element::new("field", ns::DATA_FORMS)
                .attr("var", name)
                .child(Element::new("value", ns::DATA_FORMS).text(value))
        };
        let mut form = Element::new("x", ns::DATA_FORMS)
            .attr("type", "submit")
            .child(field("FORM_TYPE".to_owned(), &format!("{}#{of}", ns::PUBSUB)).attr("type", "hidden"))
            .child(field("pubsub#persist_items".to_owned(), "true"))
            .child(field("pubsub#access_model".to_owned(), "open"));
        if max_items {
            form.push(field("pubsub#max_items".to_owned(), self.max_items));
        }
        form
    }

    fn publish(&self, options: Options) -> Question {
        let item = Element::new("item", ns::PUBSUB)
            .attr("id", self.id.clone())
            .child(self.payload.clone());
        let publish = Element::new("publish", ns::PUBSUB)
            .attr("node", self.node.clone())
            .child(item);
        let mut pubsub = Element::new("pubsub", ns::PUBSUB).child(publish);
        if options != Options::None {
            let form = self.form("publish-options", options == Options::All);
            pubsub.push(Element::new("publish-options", ns::PUBSUB).child(form));
        }
        Question::set(pubsub)
    }

    fn configure(&self) -> Question {
        let configure = Element::new("configure", ns::PUBSUB_OWNER)
            .attr("node", self.node.clone())
            .child(self.form("node_config", true));
        Question::set(Element::new("pubsub", ns::PUBSUB_OWNER).child(configure))
    }
}

/// Publishes items, each with the detours that servers need.
pub(super) async fn publish(server: &mut impl Server, items: Vec<Item>) -> Result<(), XmppError> {
    let answers = server
        .ask_all(items.iter().map(|item| item.publish(Options::All)).collect())
        .await;
    for (item, answer) in items.iter().zip(answers) {
        match refusal(&answer?) {
            None => {}
            Some(refused) => publish_with_fallbacks(server, item, refused).await?,
        }
    }
    Ok(())
}

struct Refusal {
    error: StanzaError,
    /// The node has another configuration.
    other_configuration: bool,
}

fn refusal(answer: &Answer) -> Option<Refusal> {
    (answer.stanza.get("type") == Some("error")).then(|| {
        let inside = answer
            .stanza
            .elements()
            .filter(|child| child.name == "error")
            .any(|error| error.find("precondition-not-met", ns::PUBSUB_ERRORS).is_some());
        let error = StanzaError::of(&answer.stanza);
        Refusal {
            // Some servers leave out their own condition.
            other_configuration: inside || error.condition == "conflict",
            error,
        }
    })
}

/// The node exists with other options, or the server does not know an option.
async fn publish_with_fallbacks(
    server: &mut impl Server,
    item: &Item,
    first: Refusal,
) -> Result<(), XmppError> {
    let refused = |refusal: Refusal| {
        OmemoError::PublishRefused {
            node: item.node.clone(),
            condition: refusal.error.condition,
            text: refusal.error.text,
        }
        .into()
    };
    if first.other_configuration {
        if let Some(refusal) = refusal(&ask_one(server, item.configure()).await?) {
            return Err(refused(refusal));
        }
        return match refusal(&ask_one(server, item.publish(Options::All)).await?) {
            None => Ok(()),
            // Some servers call a configuration different that is the same.
            Some(again) if again.other_configuration => publish_configured(server, item).await,
            Some(again) => Err(refused(again)),
        };
    }
    // ejabberd before 24 does not know `max_items` there.
    let mut without = refusal(&ask_one(server, item.publish(Options::WithoutMaxItems)).await?);
    for pause in PAUSES {
        // ejabberd's database gives up when several accounts make their nodes at once.
        if without
            .as_ref()
            .is_none_or(|refused| refused.error.condition != "internal-server-error")
        {
            break;
        }
        tokio::time::sleep(pause).await;
        without = refusal(&ask_one(server, item.publish(Options::WithoutMaxItems)).await?);
    }
    match without {
        None => {}
        Some(again) if again.other_configuration => {
            if let Some(refusal) = refusal(&ask_one(server, item.configure()).await?) {
                return Err(refused(refusal));
            }
            return publish_configured(server, item).await;
        }
        // The first refusal names the cause, unless the server failed at the second.
        Some(again) if again.error.condition == "internal-server-error" => return Err(refused(again)),
        Some(_) => return Err(refused(first)),
    }
    if item.max_items == "max" {
        // The node keeps one item now. A second device would push the first one out.
        if let Some(refusal) = refusal(&ask_one(server, item.configure()).await?) {
            return Err(refused(refusal));
        }
        return publish_configured(server, item).await;
    }
    Ok(())
}

/// Publishes on a node that is configured already.
async fn publish_configured(server: &mut impl Server, item: &Item) -> Result<(), XmppError> {
    match refusal(&ask_one(server, item.publish(Options::None)).await?) {
        None => Ok(()),
        Some(refusal) => Err(OmemoError::PublishRefused {
            node: item.node.clone(),
            condition: refusal.error.condition,
            text: refusal.error.text,
        }
        .into()),
    }
}

async fn ask_one(server: &mut impl Server, question: Question) -> Result<Answer, XmppError> {
    let mut answers = server.ask_all(vec![question]).await;
    answers.pop().unwrap_or(Err(XmppError::SessionClosed))
}
