//! Storage and format of the state of a device.

mod format;
mod prune;
mod state;

use std::sync::Mutex;

use zeroize::Zeroizing;

pub(super) use state::{Address, Kept, Known, Missing, SessionEntry, State, UNTOLD, ids};

use super::error::OmemoError;

/// Storage for the OMEMO state of one account: identity, sessions, known keys.
///
/// The state is one value of bytes that only this crate reads. It is secret. Two copies of one state lose messages
/// silently, so an implementation must never hand out a state that another process may change meanwhile.
///
/// [`MemoryStore`] is the simplest implementation. A store in a file takes an exclusive lock for the time of the call.
pub trait OmemoStore: Send + Sync {
    /// Runs one transaction: passes the saved bytes to `change` (`None` if nothing was ever saved) and durably saves
    /// what it returns, before the call returns. If `change` returns `None`, nothing has changed.
    ///
    /// No other transaction on this state may run meanwhile, in this process or another one. The call may block.
    ///
    /// # Errors
    /// [`StoreError`]. If saving failed, the messages that `change` encrypted are not sent.
    fn update(&self, change: Change<'_>) -> Result<(), StoreError>;

    /// Removes the state without reading it, as if nothing was ever saved. No transaction may run meanwhile. The call may
    /// block.
    ///
    /// # Errors
    /// [`StoreError`], if another process holds the lock or the state cannot be removed.
    fn clear(&self) -> Result<(), StoreError>;
}

/// The step of a transaction from the saved bytes to those to be saved.
pub type Change<'a> = &'a mut dyn FnMut(Option<&[u8]>) -> Option<Zeroizing<Vec<u8>>>;

/// Reason why a store could not run a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process held the lock for too long.
    #[error("another process holds the lock")]
    Busy,
    /// The state is there and cannot be read.
    #[error("{0}")]
    Unusable(String),
    /// The state could not be saved.
    #[error("{0}")]
    NotSaved(String),
}

impl From<StoreError> for OmemoError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::StateBusy,
            StoreError::Unusable(reason) => Self::StateUnusable { reason },
            StoreError::NotSaved(reason) => Self::StateNotSaved { reason },
        }
    }
}

/// A store that lasts as long as the process: for tests and for devices that are made anew each time.
#[derive(Default)]
pub struct MemoryStore(Mutex<Option<Zeroizing<Vec<u8>>>>);

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl OmemoStore for MemoryStore {
    fn update(&self, change: Change<'_>) -> Result<(), StoreError> {
        // A panic in another transaction left the bytes as they were.
        let mut slot = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(new) = change(slot.as_ref().map(|bytes| bytes.as_slice())) {
            *slot = Some(new);
        }
        Ok(())
    }

    fn clear(&self) -> Result<(), StoreError> {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        Ok(())
    }
}

/// Returns a copy of a state that is never saved. Nothing may be sent with it: the counters of the original stay behind.
pub(super) fn copy(store: &dyn OmemoStore) -> Result<MemoryStore, StoreError> {
    let copy = MemoryStore::default();
    store.update(&mut |saved| {
        let saved = saved.map(|saved| Zeroizing::new(saved.to_vec()));
        *copy.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = saved;
        None
    })?;
    Ok(copy)
}

/// Runs one transaction on the state of an account. The state is saved only if `change` succeeded and changed it.
pub(super) fn transact<T>(
    store: &dyn OmemoStore,
    jid: &str,
    change: impl FnOnce(&mut State) -> Result<T, OmemoError>,
) -> Result<T, OmemoError> {
    let mut change = Some(change);
    let mut result = Err(OmemoError::StateBusy);
    store.update(&mut |saved| {
        let change = change.take()?;
        let mut state = match saved.map_or_else(|| Ok(State::new(jid)), State::from_bytes) {
            Ok(state) if state.jid() == jid => state,
            Ok(state) => {
                result = Err(OmemoError::StateOfAnother {
                    owner: state.jid().to_owned(),
                    account: jid.to_owned(),
                });
                return None;
            }
            Err(reason) => {
                result = Err(OmemoError::StateUnusable {
                    reason: reason.to_owned(),
                });
                return None;
            }
        };
        result = change(&mut state);
        if result.is_err() {
            return None;
        }
        state.prune();
        let bytes = state.to_bytes();
        // A question about an account without state makes none: from the first state on, its messages are encrypted.
        let changed = match saved {
            Some(saved) => saved != &**bytes,
            None => *bytes != *State::new(jid).to_bytes(),
        };
        changed.then_some(bytes)
    })?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_fails_changes_nothing_and_another_account_is_refused() {
        let store = MemoryStore::default();
        let made = transact(&store, "a@x.example", |state| {
            state.archive_read = 5;
            Ok(())
        });
        assert_eq!(made, Ok(()));
        let failed: Result<(), OmemoError> = transact(&store, "a@x.example", |state| {
            state.archive_read = 9;
            Err(OmemoError::NoDevice)
        });
        assert_eq!(failed, Err(OmemoError::NoDevice));
        assert_eq!(
            transact(&store, "a@x.example", |state| Ok(state.archive_read)),
            Ok(5)
        );
        let copy = copy(&store).unwrap();
        let of_copy = transact(&copy, "a@x.example", |state| {
            state.archive_read += 1;
            Ok(state.archive_read)
        });
        assert_eq!(of_copy, Ok(6));
        assert_eq!(
            transact(&store, "a@x.example", |state| Ok(state.archive_read)),
            Ok(5)
        );
        let other = transact(&store, "b@x.example", |_| Ok(()));
        assert!(
            matches!(other, Err(OmemoError::StateOfAnother { .. })),
            "{other:?}"
        );
    }

    #[test]
    fn a_question_makes_no_state_and_a_cleared_one_is_gone() {
        let store = MemoryStore::default();
        let is_saved = || {
            let mut found = false;
            store
                .update(&mut |saved| {
                    found = saved.is_some();
                    None
                })
                .unwrap();
            found
        };
        assert_eq!(
            transact(&store, "a@x.example", |state| Ok(state.own.is_none())),
            Ok(true)
        );
        assert!(!is_saved());
        transact(&store, "a@x.example", |state| {
            state.archive_read = 5;
            Ok(())
        })
        .unwrap();
        assert!(is_saved());
        store.clear().unwrap();
        assert!(!is_saved());
    }

    #[test]
    fn damage_is_never_replaced_by_a_new_device() {
        let store = MemoryStore::default();
        transact(&store, "a@x.example", |state| {
            state.archive_read = 5;
            Ok(())
        })
        .unwrap();
        store
            .update(&mut |saved| {
                let mut bytes = Zeroizing::new(saved.unwrap().to_vec());
                bytes.pop();
                Some(bytes)
            })
            .unwrap();
        let result = transact(&store, "a@x.example", |_| Ok(()));
        assert!(
            matches!(result, Err(OmemoError::StateUnusable { .. })),
            "{result:?}"
        );
    }
}
