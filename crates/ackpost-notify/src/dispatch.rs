//! From a rendered message to outcomes: lanes, attempts, limits, and the connections they share.

mod attach;
pub(crate) mod delivery;
mod fetch;
mod lane;
mod pace;
pub(crate) mod plan;
pub(crate) mod pool;
pub(crate) mod recent;
pub(crate) mod run;
mod send;

pub use delivery::{Attempt, BoxFuture, Delivery, File, Late, MessageId, OnEncoded};
pub use fetch::{FetchError, FetchRequest, Fetched, shown_address};
pub use plan::{Prepared, prepare, prepare_shared};
pub use pool::{ConnectionOptions, ConnectionPool, Progress, ProgressFn, ServicePool};
pub use run::{CUT_OFF, Chain, Job, Run, RunOptions, TITLE_CUT_OFF};
