//! The elements of OMEMO, from and to [`Element`].
//!
//! Reading is lenient where one broken entry must not spoil the others: devices with ids outside the range, prekeys
//! that are not keys, and keys of a message that are not base64 are left out.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Element;
use crate::bundle::{Bundle, Device, DeviceList, Label, MAX_DEVICES, MAX_PREKEYS, PreKey};
use crate::error::Error;
use crate::keys::{IdentityKey, key_from_wire, key_to_wire};
use crate::message::{Encrypted, EncryptedKey, MAX_KEYS, RecipientKey};
use crate::version::{DeviceId, Version, decimal};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes base64, which may contain white space.
fn decode(text: &str, what: &'static str) -> Result<Vec<u8>, Error> {
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(packed).map_err(|_| Error::Malformed(what))
}

fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Returns the version of an element with one of the two names, the older first.
fn version_of(element: &Element, names: [&str; 2], what: &'static str) -> Result<Version, Error> {
    let version = Version::from_namespace(element.namespace()).ok_or(Error::Malformed(what))?;
    let name = match version {
        Version::Axolotl => names[0],
        Version::Omemo2 => names[1],
    };
    if element.name() == name {
        Ok(version)
    } else {
        Err(Error::Malformed(what))
    }
}

/// Names of the elements and attributes of a bundle.
struct BundleNames {
    signed: &'static str,
    signed_id: &'static str,
    signature: &'static str,
    identity: &'static str,
    prekey: &'static str,
    prekey_id: &'static str,
}

const fn bundle_names(version: Version) -> BundleNames {
    match version {
        Version::Axolotl => BundleNames {
            signed: "signedPreKeyPublic",
            signed_id: "signedPreKeyId",
            signature: "signedPreKeySignature",
            identity: "identityKey",
            prekey: "preKeyPublic",
            prekey_id: "preKeyId",
        },
        Version::Omemo2 => BundleNames {
            signed: "spk",
            signed_id: "id",
            signature: "spks",
            identity: "ik",
            prekey: "pk",
            prekey_id: "id",
        },
    }
}

impl Bundle {
    /// Reads a `<bundle>` element. The signature is not checked yet, see [`Bundle::verify`].
    ///
    /// Prekeys that are not valid are left out, as are those beyond [`MAX_PREKEYS`] and repeated ids.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a part is missing, [`Error::InvalidKey`] for an identity key or signed prekey that is not
    /// a key.
    pub fn from_element(element: &Element) -> Result<Self, Error> {
        const MALFORMED: Error = Error::Malformed("bundle");
        let version = version_of(element, ["bundle", "bundle"], "bundle")?;
        let (names, namespace) = (bundle_names(version), version.namespace());
        let part = |name| element.child(name, namespace).ok_or(MALFORMED);
        let signed = part(names.signed)?;
        let signed_prekey = PreKey {
            id: signed
                .attribute(names.signed_id)
                .and_then(decimal)
                .ok_or(MALFORMED)?,
            key: key_from_wire(version, &decode(&signed.text(), "bundle")?)?,
        };
        let signature = decode(&part(names.signature)?.text(), "bundle")?;
        let identity = decode(&part(names.identity)?.text(), "bundle")?;
        let mut prekeys: Vec<PreKey> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for child in part("prekeys")?
            .children()
            .filter(|child| child.is(names.prekey, namespace))
        {
            let id = child.attribute(names.prekey_id).and_then(decimal);
            let key = decode(&child.text(), "bundle").and_then(|bytes| key_from_wire(version, &bytes));
            if let (Some(id), Ok(key)) = (id, key)
                && prekeys.len() < MAX_PREKEYS
                && seen.insert(id)
            {
                prekeys.push(PreKey { id, key });
            }
        }
        Ok(Self {
            version,
            identity_key: IdentityKey::from_wire(version, &identity)?,
            signed_prekey,
            signature: signature.try_into().map_err(|_| MALFORMED)?,
            prekeys,
        })
    }

    /// Writes the `<bundle>` element.
    ///
    /// # Errors
    /// [`Error::WrongVersion`] if the identity key has not the form of the version.
    pub fn to_element(&self) -> Result<Element, Error> {
        let version = self.version;
        let (names, namespace) = (bundle_names(version), version.namespace());
        let key = |name: &str, key: &[u8; 32]| {
            Element::new(name, namespace).with_text(encode(&key_to_wire(version, key)))
        };
        let mut prekeys = Element::new("prekeys", namespace);
        for prekey in &self.prekeys {
            prekeys = prekeys.with_child(
                key(names.prekey, &prekey.key).with_attribute(names.prekey_id, prekey.id.to_string()),
            );
        }
        let signed = key(names.signed, &self.signed_prekey.key)
            .with_attribute(names.signed_id, self.signed_prekey.id.to_string());
        let identity = encode(&self.identity_key.to_wire(version)?);
        Ok(Element::new("bundle", namespace)
            .with_child(signed)
            .with_child(Element::new(names.signature, namespace).with_text(encode(&self.signature)))
            .with_child(Element::new(names.identity, namespace).with_text(identity))
            .with_child(prekeys))
    }
}

impl DeviceList {
    /// Reads a `<list>` or `<devices>` element.
    ///
    /// Ids outside the range and repeated ids are left out, as are devices beyond [`MAX_DEVICES`] and labels without a
    /// signature.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another element.
    pub fn from_element(element: &Element) -> Result<Self, Error> {
        let version = version_of(element, ["list", "devices"], "device list")?;
        let mut list = Self::new(version);
        let devices = element
            .children()
            .filter(|child| child.is("device", version.namespace()));
        for child in devices.take(10 * MAX_DEVICES) {
            let Some(Ok(id)) = child.attribute("id").map(str::parse::<DeviceId>) else {
                continue;
            };
            let signature = child
                .attribute("labelsig")
                .and_then(|text| decode(text, "label").ok());
            let signature = signature.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
            let label = child
                .attribute("label")
                .zip(signature)
                .map(|(text, signature)| Label {
                    text: text.to_owned(),
                    signature,
                });
            list.insert_device(Device { id, label });
        }
        Ok(list)
    }

    /// Writes the `<list>` or `<devices>` element. [`Version::Axolotl`] has no labels.
    pub fn to_element(&self) -> Element {
        let namespace = self.version().namespace();
        let name = match self.version() {
            Version::Axolotl => "list",
            Version::Omemo2 => "devices",
        };
        self.devices()
            .iter()
            .fold(Element::new(name, namespace), |list, device| {
                let mut element =
                    Element::new("device", namespace).with_attribute("id", device.id.to_string());
                if let (Version::Omemo2, Some(label)) = (self.version(), &device.label) {
                    element = element
                        .with_attribute("label", &label.text)
                        .with_attribute("labelsig", encode(&label.signature));
                }
                list.with_child(element)
            })
    }
}

/// Name of the attribute that marks a key exchange.
const fn exchange_attribute(version: Version) -> &'static str {
    match version {
        Version::Axolotl => "prekey",
        Version::Omemo2 => "kex",
    }
}

impl Encrypted {
    /// Reads an `<encrypted>` element.
    ///
    /// Keys that are not base64, or for ids outside the range, are left out.
    ///
    /// # Errors
    /// [`Error::Malformed`] if a part is missing or not base64, [`Error::TooLarge`] beyond [`MAX_KEYS`].
    pub fn from_element(element: &Element) -> Result<Self, Error> {
        const MALFORMED: Error = Error::Malformed("encrypted message");
        let version = version_of(element, ["encrypted", "encrypted"], "encrypted message")?;
        let namespace = version.namespace();
        let header = element.child("header", namespace).ok_or(MALFORMED)?;
        let sender = header.attribute("sid").ok_or(MALFORMED)?;
        let mut keys = Vec::new();
        match version {
            Version::Axolotl => read_keys(header, version, None, &mut keys)?,
            Version::Omemo2 => {
                for group in header.children().filter(|child| child.is("keys", namespace)) {
                    let jid = group.attribute("jid").ok_or(MALFORMED)?;
                    read_keys(group, version, Some(jid), &mut keys)?;
                }
            }
        }
        let bytes = |parent: &Element, name| {
            let child = parent.child(name, namespace);
            child
                .map(|child| decode(&child.text(), "encrypted message"))
                .transpose()
        };
        Ok(Self {
            version,
            sender: sender.parse().map_err(|_| MALFORMED)?,
            keys,
            iv: match version {
                Version::Axolotl => bytes(header, "iv")?,
                Version::Omemo2 => None,
            },
            payload: bytes(element, "payload")?,
        })
    }

    /// Writes the `<encrypted>` element.
    pub fn to_element(&self) -> Element {
        let namespace = self.version.namespace();
        let mut header = Element::new("header", namespace).with_attribute("sid", self.sender.to_string());
        match self.version {
            Version::Axolotl => {
                for key in &self.keys {
                    header = header.with_child(key_element(self.version, key));
                }
                if let Some(iv) = &self.iv {
                    header = header.with_child(Element::new("iv", namespace).with_text(encode(iv)));
                }
            }
            Version::Omemo2 => {
                // One group for each JID, in the order in which they appear first.
                let mut groups: Vec<(&str, Element)> = Vec::new();
                let mut places = std::collections::HashMap::new();
                for key in &self.keys {
                    let jid = key.jid.as_deref().unwrap_or_default();
                    let place = *places.entry(jid).or_insert_with(|| {
                        groups.push((jid, Element::new("keys", namespace).with_attribute("jid", jid)));
                        groups.len() - 1
                    });
                    let group = std::mem::replace(&mut groups[place].1, Element::new("", ""));
                    groups[place].1 = group.with_child(key_element(self.version, key));
                }
                for (_, group) in groups {
                    header = header.with_child(group);
                }
            }
        }
        let mut element = Element::new("encrypted", namespace).with_child(header);
        if let Some(payload) = &self.payload {
            element = element.with_child(Element::new("payload", namespace).with_text(encode(payload)));
        }
        element
    }
}

fn read_keys(
    parent: &Element,
    version: Version,
    jid: Option<&str>,
    keys: &mut Vec<RecipientKey>,
) -> Result<(), Error> {
    for child in parent
        .children()
        .filter(|child| child.is("key", version.namespace()))
    {
        if keys.len() >= MAX_KEYS {
            return Err(Error::TooLarge {
                what: "list of keys",
                limit: MAX_KEYS,
            });
        }
        let device = child.attribute("rid").map(str::parse);
        let (Some(Ok(device)), Ok(data)) = (device, decode(&child.text(), "key")) else {
            continue;
        };
        let key_exchange = matches!(child.attribute(exchange_attribute(version)), Some("true" | "1"));
        keys.push(RecipientKey {
            jid: jid.map(str::to_owned),
            device,
            key: EncryptedKey { data, key_exchange },
        });
    }
    Ok(())
}

fn key_element(version: Version, key: &RecipientKey) -> Element {
    let mut element = Element::new("key", version.namespace()).with_attribute("rid", key.device.to_string());
    if key.key.key_exchange {
        element = element.with_attribute(exchange_attribute(version), "true");
    }
    element.with_text(encode(&key.key.data))
}
