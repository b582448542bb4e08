//! The decision core: values in, values out. It does not know the network, the clock or the store.

pub mod alert;
pub mod decide;
pub mod gesture;
pub mod people;
pub mod words;
