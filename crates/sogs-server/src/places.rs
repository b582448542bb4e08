//! Places for connections: a bounded number of them, and who says nothing makes room for who comes.
//!
//! A connection is *silent* until the head of its first request has arrived, and again from the end of an answer until the
//! next head. As long as a place is free, silence is nobody's business but that of the time limit for heads. When none
//! is free, the next connection gets the place of a silent one, so that silence keeps nobody out, however many are
//! silent. A connection whose request is being worked on or answered is never sent away. One whose request is being
//! received is sent away only if its body pauses or comes very slowly, the slowest first. The listener of the gateway has
//! the same places.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How long a connection may be silent in a full house: the head of an honest request comes with the connection.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long the body of a request may pause before its connection counts as silent.
const BODY_PAUSE: Duration = Duration::from_secs(1);
/// Fewest bytes per second of a body that keeps its connection in a full house, on average, after the first
/// [`BODY_PAUSE`].
const BODY_RATE: u64 = 512;
/// Stands for "not silent" where the moment of the last word is kept.
const TALKING: u64 = u64::MAX;
/// Stands for "no body" where the moment is kept at which a body began.
const NO_BODY: u64 = u64::MAX;

/// Order in which connections leave: does the body pause or come slowly, was something asked, bytes per second of the
/// body, silent since.
type Order = (bool, bool, u64, u64);

/// The places of one or more listeners.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    capacity: u32,
    taken: Mutex<HashMap<u64, Arc<Seat>>>,
    next: AtomicU64,
    opened: Instant,
}

#[derive(Debug)]
struct Seat {
    /// Milliseconds since the places were opened, or [`TALKING`].
    silent_since: AtomicU64,
    /// It has asked something before.
    asked: AtomicBool,
    /// The body of its request does not come.
    stalled: AtomicBool,
    /// Milliseconds since the places were opened at which the body of its request began, or [`NO_BODY`].
    body_began: AtomicU64,
    /// Bytes of that body that have come.
    body_bytes: AtomicU64,
    /// It was told to leave.
    told: AtomicBool,
    leave: Notify,
}

/// The place of one connection; free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    seat: Arc<Seat>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

/// A request is being worked on; silence begins when this is dropped.
#[derive(Debug)]
pub struct Talk {
    places: Arc<Places>,
    seat: Arc<Seat>,
    over: Arc<AtomicBool>,
}

/// The body of a request that is being received.
#[derive(Debug)]
pub struct Arriving<B> {
    body: B,
    places: Arc<Places>,
    seat: Arc<Seat>,
    /// The request is answered.
    over: Arc<AtomicBool>,
    /// The time of silence that was set because nothing came.
    marked: Option<u64>,
}

/// The body of an answer, whose end is the end of the talk.
#[derive(Debug)]
pub struct Answering<B> {
    body: B,
    _talk: Talk,
}

impl Seat {
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

impl Places {
    /// So many places, at least one and at most 2^20.
    pub fn new(capacity: usize) -> Arc<Self> {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX).clamp(1, 1 << 20);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
            taken: Mutex::default(),
            next: AtomicU64::new(0),
            opened: Instant::now(),
        })
    }

    /// A place for a connection that is there already. Waits only while every other one is talking.
    ///
    /// # Panics
    /// Never: the semaphore is not closed.
    pub async fn take(self: &Arc<Self>) -> Place {
        let mut wait = Duration::ZERO;
        loop {
            let free = Arc::clone(&self.free).acquire_owned();
            if let Ok(Ok(permit)) = tokio::time::timeout(wait, free).await {
                return self.seat(permit);
            }
            wait = self.make_room();
        }
    }

    /// Waits until every place is free.
    pub async fn empty(&self) {
        let _ = self.free.acquire_many(self.capacity).await;
    }

    fn seat(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        let seat = Arc::new(Seat {
            silent_since: AtomicU64::new(self.now()),
            asked: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            body_began: AtomicU64::new(NO_BODY),
            body_bytes: AtomicU64::new(0),
            told: AtomicBool::new(false),
            leave: Notify::new(),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, Arc::clone(&seat));
        Place {
            places: Arc::clone(self),
            seat,
            number,
            _permit: permit,
        }
    }

    /// Tells one silent connection to leave, and returns when to look again. The order: connections that never asked
    /// anything and those that did, the longest silent first; then those whose body pauses or comes slowly, the slowest
    /// first.
    pub fn make_room(&self) -> Duration {
        let now = self.now();
        let patience = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
        let mut next = patience;
        let mut first: Option<(Order, Arc<Seat>)> = None;
        for seat in self.lock().values() {
            let since = seat.silent_since.load(Ordering::Acquire);
            if seat.told.load(Ordering::Acquire) {
                continue;
            }
            let is_slow = seat.is_slow(now);
            if since == TALKING && !is_slow {
                continue;
            }
            let silent = now.saturating_sub(since);
            if !is_slow && (since > now || silent < patience) {
                next = next.min(patience - silent);
                continue;
            }
            let order = (
                is_slow || seat.stalled.load(Ordering::Relaxed),
                seat.asked.load(Ordering::Relaxed),
                seat.body_rate(now).unwrap_or(0),
                since,
            );
            if first.as_ref().is_none_or(|(best, _)| order < *best) {
                first = Some((order, Arc::clone(seat)));
            }
        }
        if let Some((_, seat)) = first {
            seat.told.store(true, Ordering::Release);
            seat.leave.notify_one();
            return PATIENCE;
        }
        Duration::from_millis(next.max(1))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(TALKING - 1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The head of a request has arrived.
    pub fn talk(&self) -> Talk {
        self.seat.asked.store(true, Ordering::Relaxed);
        self.seat.silent_since.store(TALKING, Ordering::Release);
        Talk {
            places: Arc::clone(&self.places),
            seat: Arc::clone(&self.seat),
            over: Arc::default(),
        }
    }

    /// Ends when the connection is silent, or its body comes slowly, and its place is wanted. Poll the connection first: it may just have heard something.
    pub async fn wanted(&self) {
        loop {
            self.seat.leave.notified().await;
            let is_silent = self.seat.silent_since.load(Ordering::Acquire) != TALKING;
            if is_silent || self.seat.is_slow(self.places.now()) {
                return;
            }
            self.seat.told.store(false, Ordering::Release);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(&self.number);
    }
}

impl Talk {
    /// Watches the body of the request: its connection counts as silent while nothing comes.
    pub fn receiving<B: Body>(&self, body: B) -> Arriving<B> {
        if !body.is_end_stream() {
            self.seat.body_bytes.store(0, Ordering::Relaxed);
            self.seat.body_began.store(self.places.now(), Ordering::Release);
        }
        Arriving {
            body,
            places: Arc::clone(&self.places),
            seat: Arc::clone(&self.seat),
            over: Arc::clone(&self.over),
            marked: None,
        }
    }

    /// Goes on until the body of the answer is sent.
    pub fn until_sent<B>(self, body: B) -> Answering<B> {
        Answering { body, _talk: self }
    }
}

impl<B> Arriving<B> {
    fn pauses(&mut self) {
        if self.marked.is_none() && !self.over.load(Ordering::Acquire) {
            let since = self.places.now() + u64::try_from(BODY_PAUSE.as_millis()).unwrap_or(0);
            self.marked = Some(since);
            self.seat.stalled.store(true, Ordering::Relaxed);
            self.seat.silent_since.store(since, Ordering::Release);
        }
    }

    fn goes_on(&mut self) {
        if let Some(since) = self.marked.take() {
            self.seat.stalled.store(false, Ordering::Relaxed);
            if self.over.load(Ordering::Acquire) {
                return;
            }
            let _ =
                self.seat
                    .silent_since
                    .compare_exchange(since, TALKING, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

impl<B> Drop for Arriving<B> {
    fn drop(&mut self) {
        // After the answer, the times are those of the next request.
        if !self.over.load(Ordering::Acquire) {
            self.seat.end_body();
        }
        self.goes_on();
    }
}

impl<B: Body<Data = bytes::Bytes> + Unpin> Body for Arriving<B> {
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
                        this.seat.body_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                    }
                    _ if this.over.load(Ordering::Acquire) => {}
                    _ => this.seat.end_body(),
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

impl Drop for Talk {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.seat.end_body();
        self.seat.silent_since.store(self.places.now(), Ordering::Release);
    }
}

impl<B: Body + Unpin> Body for Answering<B> {
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
        tokio::time::timeout(5 * PATIENCE, future).await.ok()
    }

    #[tokio::test]
    async fn in_a_full_house_the_longest_silent_that_never_asked_leaves_first() {
        let places = Places::new(3);
        let kept = places.take().await;
        drop(kept.talk());
        let older = places.take().await;
        tokio::time::sleep(2 * PATIENCE).await;
        let younger = places.take().await;
        assert!(soon(older.wanted()).await.is_none(), "nobody waits for a place");
        let comer = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take().await }
        });
        soon(older.wanted()).await.expect("it has to leave");
        for other in [&kept, &younger] {
            assert!(!other.seat.told.load(Ordering::Acquire));
        }
        drop(older);
        let fourth = soon(comer).await.expect("a place").expect("no panic");
        drop((kept, younger, fourth));
        soon(places.empty()).await.expect("all are free");
        assert!(places.lock().is_empty());
    }

    #[tokio::test]
    async fn who_talks_stays() {
        let places = Places::new(1);
        let only = places.take().await;
        let talk = only.talk();
        let answer = talk.until_sent(http_body_util::Full::new(bytes::Bytes::from_static(b"x")));
        assert_eq!(answer.size_hint().exact(), Some(1));
        let comer = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take().await }
        });
        assert!(soon(only.wanted()).await.is_none(), "not while it talks");
        drop(answer);
        soon(only.wanted()).await.expect("but after its answer");
        drop(only);
        soon(comer).await.expect("a place").expect("no panic");
    }

    /// A body that does not come makes room, but after everybody who says nothing at all.
    #[tokio::test]
    async fn a_body_that_does_not_come_makes_room_last() {
        let places = Places::new(2);
        let half = places.take().await;
        let talk = half.talk();
        let stream = futures_util::stream::pending::<Result<Frame<bytes::Bytes>, std::io::Error>>();
        let mut body = talk.receiving(http_body_util::StreamBody::new(stream));
        let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx).is_pending()));
        assert!(polled.await);
        let silent = places.take().await;
        let comer = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take().await }
        });
        soon(silent.wanted()).await.expect("it has to leave");
        assert!(!half.seat.told.load(Ordering::Acquire));
        drop(silent);
        let third = soon(comer).await.expect("a place").expect("no panic");
        let talks = third.talk();
        let comer = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take().await }
        });
        tokio::time::timeout(2 * BODY_PAUSE, half.wanted())
            .await
            .expect("it has to leave");
        drop((body, talk));
        drop(half);
        soon(comer).await.expect("a place").expect("no panic");
        drop(talks);
    }

    /// A byte now and then does not keep a connection; of two slow bodies, the slower one makes room first.
    #[tokio::test]
    async fn the_slowest_body_makes_room_first() {
        let places = Places::new(3);
        let body = |place: &Place, size: usize| {
            let talk = place.talk();
            let drops = futures_util::stream::unfold((), move |()| async move {
                tokio::time::sleep(BODY_PAUSE / 5).await;
                let data = bytes::Bytes::from(vec![0; size]);
                Some((Ok::<_, std::io::Error>(Frame::data(data)), ()))
            });
            let body = http_body_util::StreamBody::new(Box::pin(drops));
            let mut body = talk.receiving(body);
            tokio::spawn(async move {
                let _talk = talk;
                while http_body_util::BodyExt::frame(&mut body).await.is_some() {}
            })
        };
        let (slow, slower, steady) = (places.take().await, places.take().await, places.take().await);
        let tasks = [body(&slow, 20), body(&slower, 1), body(&steady, 4096)];
        let comer = tokio::spawn({
            let places = Arc::clone(&places);
            async move { (places.take().await, places.take().await) }
        });
        let wait = 3 * BODY_PAUSE;
        tokio::time::timeout(wait, slower.wanted())
            .await
            .expect("the slowest has to leave");
        assert!(!slow.seat.told.load(Ordering::Acquire));
        drop(slower);
        tokio::time::timeout(wait, slow.wanted())
            .await
            .expect("then the next one");
        drop(slow);
        let both = tokio::time::timeout(wait, comer)
            .await
            .expect("places")
            .expect("no panic");
        assert!(
            !steady.seat.told.load(Ordering::Acquire),
            "a body that comes is kept"
        );
        for task in tasks {
            task.abort();
        }
        drop((steady, both));
    }

    /// Told to leave at the moment in which it begins to speak, it stays, and can be told again.
    #[tokio::test]
    async fn a_word_at_the_last_moment_counts() {
        let places = Places::new(1);
        let only = places.take().await;
        tokio::time::sleep(2 * PATIENCE).await;
        places.make_room();
        let talk = only.talk();
        assert!(soon(only.wanted()).await.is_none());
        drop(talk);
        tokio::time::sleep(2 * PATIENCE).await;
        places.make_room();
        soon(only.wanted()).await.expect("it is silent now");
    }
}
