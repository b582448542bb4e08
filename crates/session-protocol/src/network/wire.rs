//! The protobuf around a sealed box: `WebSocketMessage` and `Envelope`.

use prost::Message;

/// Type of an envelope that holds a message to one account (`SESSION_MESSAGE`).
pub(super) const SESSION_MESSAGE: u32 = 6;
/// Type of a wrapper that holds a request.
pub(super) const REQUEST: u32 = 1;

/// The outermost protobuf of what a node stores.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Wrapper {
    #[prost(uint32, optional, tag = "1")]
    pub(super) kind: Option<u32>,
    #[prost(message, optional, tag = "2")]
    pub(super) request: Option<WrappedRequest>,
}

/// The request inside the wrapper. Verb and path once named an HTTP request; readers ignore them.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WrappedRequest {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) verb: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) path: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(super) body: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "4")]
    pub(super) request_id: Option<u64>,
}

/// Envelope of the sealed box.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Envelope {
    #[prost(uint32, optional, tag = "1")]
    pub(super) kind: Option<u32>,
    /// Empty or a Session ID in text. Nothing may be concluded from it: it is not signed.
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) source: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "5")]
    pub(super) timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "7")]
    pub(super) source_device: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub(super) content: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "11")]
    pub(super) pro_signature: Option<Vec<u8>>,
}
