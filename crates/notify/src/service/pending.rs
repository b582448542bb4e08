//! Placeholder until the clients are in.
use super::Common;
use super::sogs::Sogs;
use super::xmpp::Xmpp;
use crate::dispatch::{Attempt, Courier, Parcel};
use crate::outcome::Outcome;
impl Courier {
    pub(crate) async fn sogs(&self, _s: &Sogs, _c: &Common, p: &Parcel) -> Vec<Attempt> {
        p.pieces
            .iter()
            .map(|_| Attempt::new(Outcome::deferred("not connected yet", "")))
            .collect()
    }
    pub(crate) async fn xmpp(&self, _s: &Xmpp, _c: &Common, p: &Parcel) -> Vec<Attempt> {
        p.pieces
            .iter()
            .map(|_| Attempt::new(Outcome::deferred("not connected yet", "")))
            .collect()
    }
}
