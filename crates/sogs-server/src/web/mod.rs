//! What browsers see: the index of rooms, a page for each room, its picture and its QR code.

pub mod page;
pub mod qr;
pub mod text;
