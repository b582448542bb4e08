//! Uploads that are arriving: the disk space that they take before their signature is checked.
//!
//! A signature covers the whole body, so whether it is good shows only when the body has arrived. Until then an
//! upload is a claim. All claims share one bound of bytes; those of accounts that this server has not seen share a
//! part of it, and one address has only so many at a time, so that nobody shuts the others out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that all arriving uploads may take together.
const BYTES: u64 = 1 << 30;
/// Divisor of the bytes: accounts that this server has not seen share one part in this many.
const STRANGERS_PART: u64 = 4;
/// Uploads that may arrive from one address at a time.
const PER_ADDRESS: u32 = 16;

/// The account of all uploads that are arriving.
#[derive(Debug)]
pub(crate) struct Arrivals {
    limit: u64,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: u64,
    by_strangers: u64,
    addresses: HashMap<IpAddr, u32>,
}

/// The sender of an upload, as far as it is known before the signature is checked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sender {
    /// Address of the client; `None` for an upload that is in memory and checked already.
    pub(crate) address: Option<IpAddr>,
    /// True if the claimed account was never seen here.
    pub(crate) stranger: bool,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self::with_limit(BYTES)
    }
}

/// The address that counts: of IPv6 the network, because one client has all of it. Loopback is a proxy, or this
/// machine itself, and is not counted.
fn counted(address: IpAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    if address.is_loopback() {
        return None;
    }
    match address {
        IpAddr::V6(address) => {
            let mut bytes = address.octets();
            bytes[8..].fill(0);
            Some(Ipv6Addr::from(bytes).into())
        }
        IpAddr::V4(_) => Some(address),
    }
}

impl Arrivals {
    /// Bounds all uploads together to `limit` bytes.
    pub(crate) fn with_limit(limit: u64) -> Self {
        Self {
            limit,
            taken: Mutex::default(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts an upload; `None` if its sender has too many already.
    pub(crate) fn begin(self: &Arc<Self>, sender: Sender) -> Option<Arriving> {
        let address = sender.address.and_then(counted);
        if let Some(address) = address {
            let mut taken = self.taken();
            let count = taken.addresses.entry(address).or_default();
            if *count >= PER_ADDRESS {
                return None;
            }
            *count += 1;
        }
        Some(Arriving {
            all: Arc::clone(self),
            address,
            stranger: sender.stranger,
            own: 0,
        })
    }

    /// Bytes that all uploads take now.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.taken().bytes
    }
}

/// Share of one upload in the disk space that all arriving uploads take.
#[derive(Debug)]
pub(crate) struct Arriving {
    all: Arc<Arrivals>,
    address: Option<IpAddr>,
    stranger: bool,
    own: u64,
}

impl Arriving {
    /// Counts more bytes; returns false if there is no space for them.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let mut taken = self.all.taken();
        let fits = taken.bytes + bytes <= self.all.limit
            && (!self.stranger || taken.by_strangers + bytes <= self.all.limit / STRANGERS_PART);
        if fits {
            taken.bytes += bytes;
            if self.stranger {
                taken.by_strangers += bytes;
            }
            self.own += bytes;
        }
        fits
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut taken = self.all.taken();
        taken.bytes -= self.own;
        if self.stranger {
            taken.by_strangers -= self.own;
        }
        if let Some(address) = self.address
            && let Some(count) = taken.addresses.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                taken.addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger() -> Sender {
        Sender {
            stranger: true,
            ..Sender::default()
        }
    }

    #[test]
    fn strangers_share_a_part_and_members_have_the_rest() {
        let arrivals = Arc::new(Arrivals::with_limit(100));
        let mut first = arrivals.begin(stranger()).expect("begins");
        let mut second = arrivals.begin(stranger()).expect("begins");
        assert!(first.grow(20) && !second.grow(6) && second.grow(5));
        let mut member = arrivals.begin(Sender::default()).expect("begins");
        assert!(member.grow(75) && !member.grow(1));
        drop(first);
        assert!(member.grow(20));
        drop((second, member));
        assert_eq!(arrivals.bytes(), 0);
    }

    #[test]
    fn an_address_has_a_few_uploads_at_a_time() {
        let arrivals = Arc::new(Arrivals::default());
        let from = |text: &str| Sender {
            address: Some(text.parse().expect("an address")),
            ..Sender::default()
        };
        let begin = |text: &str| arrivals.begin(from(text));
        let mut under_way: Vec<_> = (0..PER_ADDRESS)
            .map(|last| begin(&format!("2001:db8::{last:x}")).expect("begins"))
            .collect();
        assert!(begin("2001:db8::ffff").is_none(), "the same network");
        assert!(begin("2001:db8:1::1").is_some() && begin("192.0.2.1").is_some());
        under_way.pop();
        assert!(begin("2001:db8::ffff").is_some());
        let local: Vec<_> = (0..=PER_ADDRESS).map(|_| begin("127.0.0.1")).collect();
        assert!(local.iter().all(Option::is_some), "a proxy speaks for many");
    }
}
