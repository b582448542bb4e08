//! Dry run of encryption: finds the recipients and their keys without sending, publishing or saving anything.

use std::sync::Arc;

use ::omemo::{Account as Keys, DeviceId, Identity};

use super::device::Device;
use super::error::OmemoError;
use super::manage::{DeviceInfo, OwnDevice, known_devices, own_device};
use super::options::Omemo;
use super::pep::{self, Fetched, VERSIONS};
use super::prepare::Prepared;
use super::report::{EncryptedFor, EncryptionReport};
use super::server::{Question, Server};
use super::sessions::{BUNDLES_MAX, start};
use super::store::{Address, State, StoreError, copy};
use super::survey::Survey;
use super::system::{now, rng};
use crate::account::Account;
use crate::connect::Connector;
use crate::error::XmppError;
use crate::jid::Jid;
use crate::login::{self, Plan};
use crate::message::Target;
use crate::ns;
use crate::upload::Alone;

/// Result of [`Account::inspect_omemo`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The device of the account; `None` if the first message will make one.
    pub own: Option<OwnDevice>,
    /// Namespaces of the versions in whose device list it is.
    pub listed: Vec<&'static str>,
    /// Namespaces of the versions in which it has a bundle that can be used.
    pub bundles: Vec<&'static str>,
    /// The server takes a node's options together with the first item (XEP-0060 section 7.1.5).
    pub publish_options: bool,
    /// The nodes of lists and bundles.
    pub nodes: Vec<NodeFacts>,
    /// One entry for each target, in their order.
    pub targets: Vec<TargetFacts>,
    /// Every known device of the own account.
    pub own_devices: Vec<DeviceInfo>,
}

/// A node of the own account that keys are published on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeFacts {
    /// Name of the node.
    pub node: String,
    /// Access model, such as `open`; `None` if there is no such node, or the server shows no configuration.
    pub access_model: Option<String>,
    /// Number of items that it keeps, as the server writes it.
    pub max_items: Option<String>,
}

/// Facts about the encryption for one target.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TargetFacts {
    /// Bare address of the person or room.
    pub target: Jid,
    /// The devices of everybody who would read a message, without those of the own account.
    pub devices: Vec<DeviceInfo>,
    /// Devices whose bundle is not on their server. A message is encrypted for one of them only if a session exists.
    pub without_bundle: Vec<(Jid, u32)>,
    /// The devices that a message would be encrypted for, or why it cannot be encrypted.
    pub message: Result<EncryptionReport, OmemoError>,
    /// A message that cannot be encrypted would be sent in clear text.
    pub in_clear: bool,
}

impl Account {
    /// Logs in, and reads device lists, bundles and the settings of the own nodes. Nothing is sent to anybody, published or
    /// saved.
    ///
    /// # Errors
    /// [`XmppError`]; [`OmemoError::NoDevice`] in it if the account was given no [`Omemo`]. The entry of a target has
    /// the reason why nothing can be encrypted for it.
    pub async fn inspect_omemo(&self, targets: &[Target]) -> Result<Inspection, XmppError> {
        let device = Device::of(self).ok_or(OmemoError::NoDevice)?;
        let mut online = login::open(&Connector::new(self.clone())?, &Plan::default()).await?;
        let mut alone = Alone {
            online: &mut online,
            account: self,
        };
        let result = device.inspect(&mut alone, targets).await;
        online.stream.close(std::time::Duration::from_secs(1)).await;
        result
    }
}

/// State of the own account.
#[derive(Default)]
struct OwnFacts {
    publish_options: bool,
    nodes: Vec<NodeFacts>,
}

impl Device {
    /// The same device on a copy of its state. It may look, and must not send.
    async fn on_copy(&self) -> Result<Self, OmemoError> {
        let store = self.omemo.store.clone();
        let copied = tokio::task::spawn_blocking(move || copy(&*store)).await;
        let copied = copied.unwrap_or_else(|_| {
            Err(StoreError::NotSaved(
                "the reading of the state was cut off".to_owned(),
            ))
        })?;
        let omemo = Omemo {
            store: Arc::new(copied),
            ..(*self.omemo).clone()
        };
        Ok(Self {
            omemo: Arc::new(omemo),
            own: self.own.clone(),
        })
    }

    async fn inspect(&self, server: &mut impl Server, targets: &[Target]) -> Result<Inspection, XmppError> {
        let device = self.on_copy().await?;
        let own = device
            .change(|_, state| {
                let own = state.own.is_some().then(|| own_device(state)).transpose()?;
                prepare_copy(state);
                Ok(own)
            })
            .await?;
        let facts = device.own_facts(server).await?;
        let (mut prepared, people) = device.read_all_lists(server, targets).await?;
        let without_bundle = device.read_bundles(server, people, &mut prepared).await?;
        let targets: Vec<Target> = targets.to_vec();
        let inspection = device
            .change(move |this, state| {
                let mut own_devices = known_devices(this, state, &this.own)?;
                // A device that was made up for this look is not shown.
                own_devices.retain(|info| own.is_some() || !info.this);
                let lists = state.lists.get(state.jid()).cloned().unwrap_or_default();
                let id = state.device()?;
                let own_name = state.jid().to_owned();
                let has_bundle = |address: &Address| !without_bundle.contains(address);
                let mut inspection = Inspection {
                    own,
                    listed: Vec::new(),
                    bundles: Vec::new(),
                    publish_options: facts.publish_options,
                    nodes: facts.nodes,
                    targets: Vec::new(),
                    own_devices,
                };
                for version in VERSIONS {
                    if lists.clone().of(version).contains(&id) {
                        inspection.listed.push(version.namespace());
                    }
                    let address = Address {
                        jid: own_name.clone(),
                        version,
                        device: id,
                    };
                    if inspection.own.is_some() && has_bundle(&address) {
                        inspection.bundles.push(version.namespace());
                    }
                }
                for target in &targets {
                    let facts = this.target_facts(state, &prepared, target, &without_bundle)?;
                    inspection.targets.push(facts);
                }
                Ok(inspection)
            })
            .await?;
        Ok(inspection)
    }

    async fn own_facts(&self, server: &mut impl Server) -> Result<OwnFacts, XmppError> {
        let id = self.change(|_, state| state.device()).await?;
        let mut nodes: Vec<String> = Vec::new();
        for version in VERSIONS {
            nodes.push(version.device_list_node().to_owned());
            nodes.push(version.bundle_address(id).0);
        }
        let mut questions = vec![Question::get(
            self.own.to_string(),
            crate::xml::Element::new("query", ns::DISCO_INFO),
        )];
        questions.extend(nodes.iter().map(|node| pep::config_question(node)));
        let answers = server.ask_all(questions).await;
        let mut answers = answers.into_iter();
        let mut facts = OwnFacts::default();
        if let Some(Ok(info)) = answers.next() {
            let wanted = format!("{}#publish-options", ns::PUBSUB);
            facts.publish_options = info.stanza.find("query", ns::DISCO_INFO).is_some_and(|query| {
                query
                    .find_all("feature", ns::DISCO_INFO)
                    .any(|feature| feature.get("var") == Some(&wanted))
            });
        }
        for (node, answer) in nodes.into_iter().zip(answers) {
            let value = |field: &str| pep::config_value(&answer.as_ref().ok()?.stanza, field);
            facts.nodes.push(NodeFacts {
                access_model: value("pubsub#access_model"),
                max_items: value("pubsub#max_items"),
                node,
            });
        }
        Ok(facts)
    }

    /// Fetches the bundles of all listed devices, those with a session as well. Returns the devices that have none.
    async fn read_bundles(
        &self,
        server: &mut impl Server,
        people: Vec<Jid>,
        prepared: &mut Prepared,
    ) -> Result<Vec<Address>, XmppError> {
        let wanted = self
            .change(move |this, state| {
                let own = state.device()?;
                let mut wanted: Vec<Address> = VERSIONS
                    .into_iter()
                    .map(|version| Address {
                        jid: this.own.to_string(),
                        version,
                        device: own,
                    })
                    .collect();
                for jid in people.iter().map(ToString::to_string) {
                    let lists = state.lists.get(&jid).cloned().unwrap_or_default();
                    for (version, device) in lists.devices() {
                        let address = Address {
                            jid: jid.clone(),
                            version,
                            device,
                        };
                        if !wanted.contains(&address) {
                            wanted.push(address);
                        }
                    }
                }
                wanted.truncate(BUNDLES_MAX);
                Ok(wanted)
            })
            .await?;
        let found = self.fetch_bundles(server, wanted).await?;
        for (address, fetched) in &found {
            if matches!(fetched, Fetched::Later(_)) {
                prepared.bundles_later.insert(address.clone());
            }
        }
        let without = self
            .change(move |this, state| {
                let account = state.account()?;
                let mut without = Vec::new();
                for (address, fetched) in found {
                    let is_this = address.device == account.device_id() && address.jid == state.jid();
                    let usable = match &fetched {
                        Fetched::There(bundle) => {
                            !is_this || bundle.identity_key.x25519() == account.identity().public().x25519()
                        }
                        _ => false,
                    };
                    if !usable {
                        without.push(address.clone());
                    }
                    if !is_this {
                        start(this, state, &account, &address, fetched);
                    }
                }
                Ok(without)
            })
            .await?;
        Ok(without)
    }

    fn target_facts(
        &self,
        state: &State,
        prepared: &Prepared,
        target: &Target,
        without_bundle: &[Address],
    ) -> Result<TargetFacts, OmemoError> {
        let address = target.address().to_bare();
        let mut people: Vec<Jid> = Vec::new();
        if let Some(Ok(readers)) = prepared.readers.get(&address.to_string()) {
            people.clone_from(&readers.people);
        }
        let mut devices = Vec::new();
        for person in people.iter().filter(|person| **person != self.own) {
            devices.extend(known_devices(self, state, person)?);
        }
        let message = self
            .survey(state, prepared, target)
            .map(|survey| report(self, survey));
        let in_clear = message
            .as_ref()
            .is_err_and(|error| self.may_be_clear(state, error));
        let without_bundle = without_bundle
            .iter()
            .filter_map(|address| Some((address.jid.parse::<Jid>().ok()?, address.device.get())))
            .filter(|(jid, _)| people.contains(jid) && *jid != self.own)
            .collect();
        Ok(TargetFacts {
            target: address,
            devices,
            without_bundle,
            message,
            in_clear,
        })
    }
}

/// The text that the outcome of a message would have.
fn report(this: &Device, survey: Survey) -> EncryptionReport {
    let devices = survey.usable.iter().filter_map(|address| {
        let jid: Jid = address.jid.parse().ok()?;
        Some(EncryptedFor {
            own: jid == this.own,
            jid,
            device: address.device.get(),
            namespace: address.version.namespace(),
        })
    });
    EncryptionReport {
        devices: devices.collect(),
        left_out: survey.left_out,
        new_keys: survey.new_keys,
        repeated: false,
    }
}

/// Forgets in a copy what is read anew. Without a device, one is made up, so that the rest goes the usual way.
fn prepare_copy(state: &mut State) {
    state.lists.clear();
    state.missing.clear();
    if state.own.is_none() {
        let device = DeviceId::random(&mut rng());
        let account = Keys::new(Identity::generate(&mut rng()), device, now(), &mut rng());
        state.set_account(&account);
    }
}
