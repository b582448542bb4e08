//! XML: elements as plain trees, and the elements of OMEMO read from them and written to them.
//!
//! [`Element`] is a tree without behaviour. A program that has its own XML type converts it with
//! [`Element::nodes`] and [`Element::new`]; a program that has text uses [`Element::parse`] and [`Element::to_xml`].
//!
//! ```
//! use omemo::xml::Element;
//! use omemo::{DeviceId, DeviceList, Version};
//!
//! let text = "<list xmlns='eu.siacs.conversations.axolotl'><device id='12345'/><device id='junk'/></list>";
//! let mut list = DeviceList::from_element(&Element::parse(text)?)?;
//! list.insert(DeviceId::new(4223).unwrap());
//! assert_eq!(
//!     list.to_element().to_xml(),
//!     "<list xmlns='eu.siacs.conversations.axolotl'><device id='12345'/><device id='4223'/></list>"
//! );
//! # Ok::<(), omemo::Error>(())
//! ```

mod element;
mod envelope;
mod stanzas;

pub use element::{Element, Node};
pub use envelope::Envelope;
