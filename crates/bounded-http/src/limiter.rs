//! A bounded number of connections. When all are taken, a silent connection is closed for the next one.
//!
//! A connection is *silent* until the head of its first request has arrived, and again from the end of an answer until
//! the next head. While permits are free, only the time limit for heads applies to silent connections. At the limit the
//! next connection gets the permit of a silent one, so that silent connections keep nobody out. A connection whose
//! request is being handled or answered is never closed. One whose request is being received is closed only if its body
//! pauses or comes very slowly, the slowest first.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Time that a connection may be silent at the limit: the head of an honest request comes with the connection.
const SILENCE_MIN: Duration = Duration::from_millis(100);
/// Pause in the body of a request after which its connection counts as silent.
const BODY_PAUSE: Duration = Duration::from_secs(1);
/// Minimum rate in bytes per second of a body that keeps its connection at the limit, on average, after the first
/// [`BODY_PAUSE`].
const BODY_RATE: u64 = 512;
/// Value of `silent_since` while a request is handled.
const ACTIVE: u64 = u64::MAX;
/// Value of `body_began` while no body is received.
const NO_BODY: u64 = u64::MAX;

/// Order in which connections are closed: does the body pause or come slowly, was something asked, bytes per second of the
/// body, silent since.
type Order = (bool, bool, u64, u64);

/// The connections of one or more listeners, and their limit.
#[derive(Debug)]
pub struct ConnectionLimiter {
    free: Arc<Semaphore>,
    capacity: u32,
    connections: Mutex<HashMap<u64, Arc<Slot>>>,
    next: AtomicU64,
    opened: Instant,
}

#[derive(Debug)]
struct Slot {
    /// Milliseconds since the limiter was made, or [`ACTIVE`].
    silent_since: AtomicU64,
    /// It has asked something before.
    asked: AtomicBool,
    /// The body of its request does not come.
    stalled: AtomicBool,
    /// Milliseconds since the limiter was made at which the body of its request began, or [`NO_BODY`].
    body_began: AtomicU64,
    /// Bytes of that body that have come.
    body_bytes: AtomicU64,
    /// It was asked to close.
    evicting: AtomicBool,
    close: Notify,
}

/// The permit of one connection; given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    limiter: Arc<ConnectionLimiter>,
    slot: Arc<Slot>,
    number: u64,
    _capacity: OwnedSemaphorePermit,
}

/// A request that is being handled; the connection counts as silent when this is dropped.
#[derive(Debug)]
pub struct ActiveRequest {
    limiter: Arc<ConnectionLimiter>,
    slot: Arc<Slot>,
    over: Arc<AtomicBool>,
}

/// The body of a request that is being received.
#[derive(Debug)]
pub struct ReceivingBody<B> {
    body: B,
    limiter: Arc<ConnectionLimiter>,
    slot: Arc<Slot>,
    /// The request is answered.
    over: Arc<AtomicBool>,
    /// The time of silence that was set because nothing came.
    marked: Option<u64>,
}

/// The body of an answer; the request is active until its end.
#[derive(Debug)]
pub struct SendingBody<B> {
    body: B,
    _active: ActiveRequest,
}

impl Slot {
    /// Returns the bytes per second of the body that is being received, once it has been coming for a while.
    fn body_rate(&self, now: u64) -> Option<u64> {
        let began = self.body_began.load(Ordering::Acquire);
        let pause = u64::try_from(BODY_PAUSE.as_millis()).unwrap_or(u64::MAX);
        let elapsed = now.checked_sub(began).filter(|elapsed| *elapsed >= pause)?;
        let bytes = self.body_bytes.load(Ordering::Relaxed);
        Some(bytes.saturating_mul(1_000) / elapsed.max(1))
    }

    fn is_slow(&self, now: u64) -> bool {
        self.body_rate(now).is_some_and(|rate| rate < BODY_RATE)
    }

    fn end_body(&self) {
        self.body_began.store(NO_BODY, Ordering::Release);
    }
}

impl ConnectionLimiter {
    /// A limit of `capacity` connections, at least one and at most 2^20.
    pub fn new(capacity: usize) -> Arc<Self> {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX).clamp(1, 1 << 20);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
            connections: Mutex::default(),
            next: AtomicU64::new(0),
            opened: Instant::now(),
        })
    }

    /// Returns a permit for an accepted connection. Waits while every other connection is active.
    ///
    /// # Panics
    /// Never: the semaphore is not closed.
    pub async fn acquire(self: &Arc<Self>) -> Permit {
        let mut wait = Duration::ZERO;
        loop {
            let free = Arc::clone(&self.free).acquire_owned();
            if let Ok(Ok(permit)) = tokio::time::timeout(wait, free).await {
                return self.slot(permit);
            }
            wait = self.evict_one();
        }
    }

    /// Waits until every permit is free.
    pub async fn empty(&self) {
        let _ = self.free.acquire_many(self.capacity).await;
    }

    fn slot(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Permit {
        let slot = Arc::new(Slot {
            silent_since: AtomicU64::new(self.now()),
            asked: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            body_began: AtomicU64::new(NO_BODY),
            body_bytes: AtomicU64::new(0),
            evicting: AtomicBool::new(false),
            close: Notify::new(),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, Arc::clone(&slot));
        Permit {
            limiter: Arc::clone(self),
            slot,
            number,
            _capacity: permit,
        }
    }

    /// Asks one silent connection to close, and returns when to look again. The order: connections that never asked
    /// anything and those that did, the longest silent first; then those whose body pauses or comes slowly, the slowest
    /// first.
    pub fn evict_one(&self) -> Duration {
        let now = self.now();
        let silence_min = u64::try_from(SILENCE_MIN.as_millis()).unwrap_or(u64::MAX);
        let mut next = silence_min;
        let mut first: Option<(Order, Arc<Slot>)> = None;
        for slot in self.lock().values() {
            let since = slot.silent_since.load(Ordering::Acquire);
            if slot.evicting.load(Ordering::Acquire) {
                continue;
            }
            let is_slow = slot.is_slow(now);
            if since == ACTIVE && !is_slow {
                continue;
            }
            let silent = now.saturating_sub(since);
            if !is_slow && (since > now || silent < silence_min) {
                next = next.min(silence_min - silent);
                continue;
            }
            let order = (
                is_slow || slot.stalled.load(Ordering::Relaxed),
                slot.asked.load(Ordering::Relaxed),
                slot.body_rate(now).unwrap_or(0),
                since,
            );
            if first.as_ref().is_none_or(|(best, _)| order < *best) {
                first = Some((order, Arc::clone(slot)));
            }
        }
        if let Some((_, slot)) = first {
            slot.evicting.store(true, Ordering::Release);
            slot.close.notify_one();
            return SILENCE_MIN;
        }
        Duration::from_millis(next.max(1))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(ACTIVE - 1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Slot>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The head of a request has arrived.
    pub fn activate(&self) -> ActiveRequest {
        self.slot.asked.store(true, Ordering::Relaxed);
        self.slot.silent_since.store(ACTIVE, Ordering::Release);
        ActiveRequest {
            limiter: Arc::clone(&self.limiter),
            slot: Arc::clone(&self.slot),
            over: Arc::default(),
        }
    }

    /// Ends when this connection has to close: it is silent or its body comes slowly, and another one waits for the
    /// permit. Poll the connection first: a request may just have arrived.
    pub async fn evicted(&self) {
        loop {
            self.slot.close.notified().await;
            let is_silent = self.slot.silent_since.load(Ordering::Acquire) != ACTIVE;
            if is_silent || self.slot.is_slow(self.limiter.now()) {
                return;
            }
            self.slot.evicting.store(false, Ordering::Release);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.lock().remove(&self.number);
    }
}

impl ActiveRequest {
    /// Watches the body of the request: its connection counts as silent while nothing comes.
    pub fn receiving<B: Body>(&self, body: B) -> ReceivingBody<B> {
        if !body.is_end_stream() {
            self.slot.body_bytes.store(0, Ordering::Relaxed);
            self.slot.body_began.store(self.limiter.now(), Ordering::Release);
        }
        ReceivingBody {
            body,
            limiter: Arc::clone(&self.limiter),
            slot: Arc::clone(&self.slot),
            over: Arc::clone(&self.over),
            marked: None,
        }
    }

    /// Watches data that comes in another way than as a [`Body`], for protocols besides HTTP: if it comes very slowly, its
    /// connection may be closed. [`Self::data_came`] counts its bytes.
    pub fn data_begins(&self) {
        self.slot.body_bytes.store(0, Ordering::Relaxed);
        self.slot.body_began.store(self.limiter.now(), Ordering::Release);
    }

    /// Counts bytes of the data.
    pub fn data_came(&self, bytes: usize) {
        self.slot.body_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The data is complete: the request is worked on.
    pub fn data_ends(&self) {
        self.slot.end_body();
    }

    /// Keeps the request active until the body of the answer is sent.
    pub fn hold_until_sent<B>(self, body: B) -> SendingBody<B> {
        SendingBody { body, _active: self }
    }
}

impl<B> ReceivingBody<B> {
    fn pauses(&mut self) {
        if self.marked.is_none() && !self.over.load(Ordering::Acquire) {
            let since = self.limiter.now() + u64::try_from(BODY_PAUSE.as_millis()).unwrap_or(0);
            self.marked = Some(since);
            self.slot.stalled.store(true, Ordering::Relaxed);
            self.slot.silent_since.store(since, Ordering::Release);
        }
    }

    fn goes_on(&mut self) {
        if let Some(since) = self.marked.take() {
            self.slot.stalled.store(false, Ordering::Relaxed);
            if self.over.load(Ordering::Acquire) {
                return;
            }
            let _ =
                self.slot
                    .silent_since
                    .compare_exchange(since, ACTIVE, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

impl<B> Drop for ReceivingBody<B> {
    fn drop(&mut self) {
        // After the answer, the times are those of the next request.
        if !self.over.load(Ordering::Acquire) {
            self.slot.end_body();
        }
        self.goes_on();
    }
}

impl<B: Body<Data = bytes::Bytes> + Unpin> Body for ReceivingBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Pending => this.pauses(),
            Poll::Ready(frame) => {
                this.goes_on();
                match frame {
                    Some(Ok(frame)) => {
                        let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
                        this.slot.body_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                    }
                    _ if this.over.load(Ordering::Acquire) => {}
                    _ => this.slot.end_body(),
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.slot.end_body();
        self.slot
            .silent_since
            .store(self.limiter.now(), Ordering::Release);
    }
}

impl<B: Body + Unpin> Body for SendingBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(5 * SILENCE_MIN, future).await.ok()
    }

    #[tokio::test]
    async fn at_the_limit_the_longest_silent_connection_that_never_asked_is_closed_first() {
        let limiter = ConnectionLimiter::new(3);
        let kept = limiter.acquire().await;
        drop(kept.activate());
        let older = limiter.acquire().await;
        tokio::time::sleep(2 * SILENCE_MIN).await;
        let younger = limiter.acquire().await;
        assert!(soon(older.evicted()).await.is_none(), "nobody waits for a permit");
        let comer = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.acquire().await }
        });
        soon(older.evicted()).await.expect("it has to close");
        for other in [&kept, &younger] {
            assert!(!other.slot.evicting.load(Ordering::Acquire));
        }
        drop(older);
        let fourth = soon(comer).await.expect("a permit").expect("no panic");
        drop((kept, younger, fourth));
        soon(limiter.empty()).await.expect("all are free");
        assert!(limiter.lock().is_empty());
    }

    #[tokio::test]
    async fn data_that_does_not_come_makes_room_and_complete_data_does_not() {
        let limiter = ConnectionLimiter::new(2);
        let (stuck, done) = (limiter.acquire().await, limiter.acquire().await);
        let (slow, whole) = (stuck.activate(), done.activate());
        slow.data_begins();
        whole.data_begins();
        whole.data_came(10);
        whole.data_ends();
        let comer = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.acquire().await }
        });
        let evicted = tokio::time::timeout(20 * BODY_PAUSE, stuck.evicted()).await;
        evicted.expect("it has to close");
        assert!(!done.slot.evicting.load(Ordering::Acquire));
        drop((slow, stuck));
        let third = tokio::time::timeout(20 * BODY_PAUSE, comer).await;
        assert!(third.is_ok_and(|joined| joined.is_ok()));
        drop((whole, done));
    }

    #[tokio::test]
    async fn an_active_connection_stays() {
        let limiter = ConnectionLimiter::new(1);
        let only = limiter.acquire().await;
        let active = only.activate();
        let answer = active.hold_until_sent(http_body_util::Full::new(bytes::Bytes::from_static(b"x")));
        assert_eq!(answer.size_hint().exact(), Some(1));
        let comer = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.acquire().await }
        });
        assert!(soon(only.evicted()).await.is_none(), "not while it talks");
        drop(answer);
        soon(only.evicted()).await.expect("but after its answer");
        drop(only);
        soon(comer).await.expect("a permit").expect("no panic");
    }

    /// A connection whose body does not come is closed, but after those that are silent.
    #[tokio::test]
    async fn a_connection_whose_body_does_not_come_is_closed_last() {
        let limiter = ConnectionLimiter::new(2);
        let half = limiter.acquire().await;
        let active = half.activate();
        let stream = futures_util::stream::pending::<Result<Frame<bytes::Bytes>, std::io::Error>>();
        let mut body = active.receiving(http_body_util::StreamBody::new(stream));
        let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx).is_pending()));
        assert!(polled.await);
        let silent = limiter.acquire().await;
        let comer = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.acquire().await }
        });
        soon(silent.evicted()).await.expect("it has to close");
        assert!(!half.slot.evicting.load(Ordering::Acquire));
        drop(silent);
        let third = soon(comer).await.expect("a permit").expect("no panic");
        let talks = third.activate();
        let comer = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.acquire().await }
        });
        tokio::time::timeout(2 * BODY_PAUSE, half.evicted())
            .await
            .expect("it has to close");
        drop((body, active));
        drop(half);
        soon(comer).await.expect("a permit").expect("no panic");
        drop(talks);
    }

    /// A byte now and then does not keep a connection; of two slow bodies, the slower one is closed first.
    #[tokio::test]
    async fn the_slowest_body_is_closed_first() {
        let limiter = ConnectionLimiter::new(3);
        let body = |permit: &Permit, size: usize| {
            let active = permit.activate();
            let drops = futures_util::stream::unfold((), move |()| async move {
                tokio::time::sleep(BODY_PAUSE / 5).await;
                let data = bytes::Bytes::from(vec![0; size]);
                Some((Ok::<_, std::io::Error>(Frame::data(data)), ()))
            });
            let body = http_body_util::StreamBody::new(Box::pin(drops));
            let mut body = active.receiving(body);
            tokio::spawn(async move {
                let _active = active;
                while http_body_util::BodyExt::frame(&mut body).await.is_some() {}
            })
        };
        let (slow, slower, steady) = (
            limiter.acquire().await,
            limiter.acquire().await,
            limiter.acquire().await,
        );
        let tasks = [body(&slow, 20), body(&slower, 1), body(&steady, 4096)];
        let comer = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { (limiter.acquire().await, limiter.acquire().await) }
        });
        let wait = 3 * BODY_PAUSE;
        tokio::time::timeout(wait, slower.evicted())
            .await
            .expect("the slowest has to close");
        assert!(!slow.slot.evicting.load(Ordering::Acquire));
        drop(slower);
        tokio::time::timeout(wait, slow.evicted())
            .await
            .expect("then the next one");
        drop(slow);
        let both = tokio::time::timeout(wait, comer)
            .await
            .expect("limiter")
            .expect("no panic");
        assert!(
            !steady.slot.evicting.load(Ordering::Acquire),
            "a body that comes is kept"
        );
        for task in tasks {
            task.abort();
        }
        drop((steady, both));
    }

    /// A connection that is asked to close in the moment in which a request arrives stays, and can be asked again.
    #[tokio::test]
    async fn a_request_at_the_last_moment_counts() {
        let limiter = ConnectionLimiter::new(1);
        let only = limiter.acquire().await;
        tokio::time::sleep(2 * SILENCE_MIN).await;
        limiter.evict_one();
        let active = only.activate();
        assert!(soon(only.evicted()).await.is_none());
        drop(active);
        tokio::time::sleep(2 * SILENCE_MIN).await;
        limiter.evict_one();
        soon(only.evicted()).await.expect("it is silent now");
    }
}
