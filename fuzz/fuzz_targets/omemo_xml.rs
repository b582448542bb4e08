//! Any text as an element, a bundle, a device list, a message, an envelope and a link: what is read survives being
//! written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use omemo::xml::{Element, Envelope};
use omemo::{Attachment, Bundle, DeviceId, DeviceList, Encrypted};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = text.parse::<DeviceId>();
    let _ = Envelope::from_bytes(data);
    if let Ok((address, attachment)) = Attachment::from_link(text) {
        assert!(attachment.link(&address).is_ok());
    }
    let Ok(element) = Element::parse(text) else {
        return;
    };
    assert_eq!(Element::parse(&element.to_xml()).unwrap(), element);
    for element in std::iter::once(&element).chain(element.children()) {
        if let Ok(bundle) = Bundle::from_element(element) {
            let _ = bundle.verify();
            assert_eq!(
                Bundle::from_element(&bundle.to_element().unwrap()).unwrap(),
                bundle
            );
        }
        if let Ok(list) = DeviceList::from_element(element) {
            assert_eq!(DeviceList::from_element(&list.to_element()).unwrap(), list);
        }
        if let Ok(message) = Encrypted::from_element(element) {
            let again = Encrypted::from_element(&message.to_element()).unwrap();
            assert_eq!(
                (again.sender, again.iv, again.payload),
                (message.sender, message.iv, message.payload)
            );
            assert_eq!(again.keys.len(), message.keys.len());
        }
    }
});
