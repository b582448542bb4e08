//! The elements of OMEMO, from and to [`Element`].
//!
//! Reading is lenient where one broken entry must not spoil the others: devices with ids outside the range, prekeys
//! that are not keys, and keys of a message that are not base64 are left out.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Element;
use crate::bundle::{Bundle, Device, DeviceList, Label, MAX_DEVICES, MAX_PREKEYS, PreKey};
use crate::encrypted::{Encrypted, EncryptedKey, MAX_KEYS, RecipientKey};
use crate::error::Error;
use crate::identity_key::IdentityKey;
use crate::keys::{key_from_wire, key_to_wire};
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
    /// Keys that are not base64, for ids outside the range, or in a group without JID are left out.
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
                    let Some(jid) = group.attribute("jid") else {
                        continue;
                    };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Element {
        Element::parse(text).unwrap()
    }

    fn ids(list: &DeviceList) -> Vec<u32> {
        list.devices().iter().map(|device| device.id.get()).collect()
    }

    #[test]
    fn junk_in_device_lists_is_left_out() {
        let list = DeviceList::from_element(&parse(
            "<list xmlns='eu.siacs.conversations.axolotl'>text<device id='7'/><device id='0'/><device id='7'/><device/>\
             <device id='-1'/><device id='2147483648'/><device id='x'/><other id='9'/><device xmlns='x' id='9'/>\
             <device id='2147483647'/></list>",
        ));
        assert_eq!(ids(&list.unwrap()), [7, 2_147_483_647]);
        let empty = parse("<devices xmlns='urn:xmpp:omemo:2'/>");
        let list = DeviceList::from_element(&empty).unwrap();
        assert_eq!((list.version(), list.devices().len()), (Version::Omemo2, 0));
        assert_eq!(list.to_element(), empty);
        for other in [
            "<list xmlns='urn:xmpp:omemo:2'/>",
            "<devices xmlns='eu.siacs.conversations.axolotl'/>",
            "<list/>",
        ] {
            assert!(DeviceList::from_element(&parse(other)).is_err(), "{other}");
        }
    }

    #[test]
    fn labels_travel_with_their_signature_only() {
        let text = format!(
            "<devices xmlns='urn:xmpp:omemo:2'><device id='1' label='a' labelsig='{}'/><device id='2' label='b'/>\
             <device id='3' label='c' labelsig='AAAA'/></devices>",
            encode(&[1; 64])
        );
        let list = DeviceList::from_element(&parse(&text)).unwrap();
        let labels: Vec<bool> = list
            .devices()
            .iter()
            .map(|device| device.label.is_some())
            .collect();
        assert_eq!(labels, [true, false, false]);
        assert_eq!(DeviceList::from_element(&list.to_element()).unwrap(), list);
    }

    #[test]
    fn one_broken_key_does_not_spoil_the_others() {
        let message = Encrypted::from_element(&parse(
            "<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'><keys><key rid='1'>AAAA</key></keys>\
             <keys jid='a@b'><key rid='2'>!</key><key>AAAA</key><key rid='0'>AAAA</key>\
             <key kex='1' rid='3'> AA\n AA </key><key kex='false' rid='4'>AAAA</key></keys></header></encrypted>",
        ))
        .unwrap();
        let keys: Vec<_> = message
            .keys
            .iter()
            .map(|key| (key.device.get(), key.key.key_exchange))
            .collect();
        assert_eq!(keys, [(3, true), (4, false)]);
        assert_eq!(message.keys[0].key.data, [0, 0, 0]);
        assert_eq!(message.payload, None);
    }

    #[test]
    fn messages_without_a_part_are_refused() {
        for text in [
            "<encrypted xmlns='urn:xmpp:omemo:2'/>",
            "<encrypted xmlns='urn:xmpp:omemo:1'><header sid='1'/></encrypted>",
            "<encrypted xmlns='urn:xmpp:omemo:2'><header/></encrypted>",
            "<encrypted xmlns='urn:xmpp:omemo:2'><header sid='0'/></encrypted>",
            "<encrypted xmlns='urn:xmpp:omemo:2'><header xmlns='x' sid='1'/></encrypted>",
            "<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'/><payload>?</payload></encrypted>",
            "<message xmlns='urn:xmpp:omemo:2'><header sid='1'/></message>",
        ] {
            assert!(Encrypted::from_element(&parse(text)).is_err(), "{text}");
        }
        let keys = "<key rid='1'>AA==</key>".repeat(MAX_KEYS + 1);
        let text = format!(
            "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'>{keys}</header></encrypted>"
        );
        let result = Encrypted::from_element(&parse(&text));
        assert!(matches!(result, Err(Error::TooLarge { .. })));
    }

    /// A bundle with the given parts; the keys are those of private keys of the vectors.
    fn bundle(prekeys: &str) -> String {
        let key = |seed| {
            let identity = crate::Identity::from_seed(&[seed; 32]);
            encode(&identity.public().to_wire(Version::Axolotl).unwrap())
        };
        format!(
            "<bundle xmlns='eu.siacs.conversations.axolotl'><signedPreKeyPublic signedPreKeyId='0'>{}</signedPreKeyPublic>\
             <signedPreKeySignature>{}</signedPreKeySignature><identityKey>{}</identityKey><prekeys>{prekeys}</prekeys>\
             </bundle>",
            key(1),
            encode(&[0; 64]),
            key(2),
        )
    }

    #[test]
    fn broken_prekeys_are_left_out_of_bundles() {
        let good = encode(&key_to_wire(Version::Axolotl, &[9; 32]));
        let short = encode(&[5; 32]);
        let text = bundle(&format!(
            "<preKeyPublic preKeyId='1'>{good}</preKeyPublic><preKeyPublic preKeyId='1'>{good}</preKeyPublic>\
             <preKeyPublic preKeyId='2'>{short}</preKeyPublic><preKeyPublic>{good}</preKeyPublic>\
             <preKeyPublic preKeyId='0'>{good}</preKeyPublic><preKeyPublic preKeyId='3'>?</preKeyPublic>"
        ));
        let bundle = Bundle::from_element(&parse(&text)).unwrap();
        let ids: Vec<u32> = bundle.prekeys.iter().map(|prekey| prekey.id).collect();
        assert_eq!(ids, [1, 0]);
        assert_eq!(bundle.verify(), Err(Error::BadSignature));
    }

    #[test]
    fn bundles_are_bounded_and_need_every_part() {
        let good = encode(&key_to_wire(Version::Axolotl, &[9; 32]));
        let many: String = (0..1500)
            .map(|id| Element::new("preKeyPublic", "").with_attribute("preKeyId", id.to_string()))
            .map(|element| element.with_text(&good).to_xml().replace(" xmlns=''", ""))
            .collect();
        assert_eq!(
            Bundle::from_element(&parse(&bundle(&many)))
                .unwrap()
                .prekeys
                .len(),
            MAX_PREKEYS
        );
        let whole = bundle("");
        assert_eq!(Bundle::from_element(&parse(&whole)).unwrap().prekeys, []);
        for part in [
            "signedPreKeyPublic",
            "signedPreKeySignature",
            "identityKey",
            "prekeys",
            "signedPreKeyId",
        ] {
            let without = whole.replace(part, "other");
            assert!(Bundle::from_element(&parse(&without)).is_err(), "{part}");
        }
    }
}
