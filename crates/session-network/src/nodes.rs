//! The list of nodes: kept between runs, refreshed by agreement, at most every two hours.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use session_protocol::SessionId;
use session_protocol::network::agreement::{PRESENCE, SOURCES, agree, choose};
use session_protocol::network::nodes::{MAX_LIST_LEN_BYTES, Node, NodeList, SwarmId};
use session_protocol::network::rpc::{Call, SEED_PATH};
use tokio::task::spawn_blocking;

use crate::directory::{Directory, Known, LIST_LIFETIME, LONGEST_USE, decode, encode};
use crate::error::{Cause, NetworkError};
use crate::exchange::SEALED_EXTRA_LEN_BYTES;
use crate::network::{Network, off_thread};
use crate::routes::Guard;
use crate::seed::Seed;

impl Network {
    /// Returns the list of nodes: the kept one for up to two hours, else a new one.
    ///
    /// # Errors
    /// [`NetworkError`] if there is no list and neither nodes nor seeds give one.
    pub async fn list(&self) -> Result<Arc<NodeList>, NetworkError> {
        let old = match self.known_list().await {
            Ok(list) => return Ok(list),
            Err(old) => old,
        };
        let _refresh = match (self.inner.refresh.try_lock(), old) {
            (Ok(refresh), _) => refresh,
            // Another call fetches a list, and the old one serves meanwhile.
            (Err(_), Some(old)) => return Ok(old),
            (Err(_), None) => self.inner.refresh.lock().await,
        };
        let old = match self.known_list().await {
            Ok(list) => return Ok(list),
            Err(old) => old,
        };
        let now = self.local_ms();
        let fetched = self.fetch(old.as_deref()).await;
        let mut directory = self.inner.directory.lock().await;
        match fetched {
            Ok(list) => {
                let list = Arc::new(list);
                self.lock_routes().renew(&list);
                directory.corrected.clear();
                directory.stale_keys.clear();
                directory.failed_at_ms = None;
                directory.list = Some(Known {
                    list: Arc::clone(&list),
                    fetched_ms: now,
                });
                let item = directory.item.clone();
                drop(directory);
                self.save(item, Arc::clone(&list), now).await;
                Ok(list)
            }
            Err(error) => {
                directory.failed_at_ms = Some(now);
                let old = old.ok_or_else(|| error.clone())?;
                tracing::warn!(%error, "no new list of nodes; the old one serves on");
                Ok(old)
            }
        }
    }

    /// The list, if it needs no replacement yet. Otherwise the old one, if it may serve until there is another: the nodes of a list
    /// that is older, or of unknown age, may be anybody's by now, so that the seeds are asked.
    async fn known_list(&self) -> Result<Arc<NodeList>, Option<Arc<NodeList>>> {
        let mut directory = self.inner.directory.lock().await;
        self.load(&mut directory).await;
        let now = self.local_ms();
        let age = directory.age(now).filter(|age| *age < LONGEST_USE).ok_or(None)?;
        let list = directory.list.as_ref().map(|known| Arc::clone(&known.list));
        let is_young = age < LIST_LIFETIME || directory.failed_lately(now);
        match list {
            Some(list) if is_young => Ok(list),
            old => Err(old),
        }
    }

    /// The nodes that keep a mailbox, and their number.
    ///
    /// # Errors
    /// [`NetworkError`] if there is no list, or the list has no swarm.
    pub async fn swarm(&self, id: &SessionId) -> Result<Vec<Node>, NetworkError> {
        let list = self.list().await?;
        let directory = self.inner.directory.lock().await;
        if let Some(corrected) = directory.corrected.get(id) {
            return Ok(corrected.clone());
        }
        list.swarm_of(id)
            .map(|(_, nodes)| nodes)
            .filter(|nodes| !nodes.is_empty())
            .ok_or_else(|| NetworkError::new(Cause::NoSwarm))
    }

    async fn load(&self, directory: &mut Directory) {
        if directory.loaded {
            return;
        }
        directory.loaded = true;
        let storage = self.inner.options.shared_storage();
        let (item, guard_item) = (directory.item.clone(), directory.guard_item.clone());
        // The list is long, and the disk may be slow.
        let loaded = spawn_blocking(move || {
            let guard = storage.load(&guard_item).unwrap_or_default();
            let list = storage.load(&item).unwrap_or_else(|error| {
                tracing::warn!(%error, "the kept list of nodes cannot be read");
                None
            });
            (
                guard.and_then(|bytes| Guard::from_bytes(&bytes)),
                list.and_then(|bytes| decode(&bytes)),
            )
        });
        let (guard, saved) = loaded.await.unwrap_or_default();
        if self.inner.options.is_onion() {
            self.lock_routes().set_guard(guard);
        }
        let Some((list, fetched_ms, offset_ms)) = saved else {
            return;
        };
        self.lock_offsets().keep(offset_ms);
        directory.list = Some(Known {
            list: Arc::new(list),
            fetched_ms,
        });
    }

    async fn save(&self, item: String, list: Arc<NodeList>, fetched_ms: u64) {
        let offset = self.clock_offset_ms().unwrap_or(0);
        let storage = self.inner.options.shared_storage();
        let saved = spawn_blocking(move || storage.save(&item, &encode(&list, fetched_ms, offset)));
        // The list is a cache: without it the next run asks again.
        if let Ok(Err(error)) = saved.await {
            tracing::warn!(%error, "the list of nodes cannot be kept");
        }
    }

    /// Fetches a new list: the nodes that enough of three known nodes name, or the list of a seed.
    async fn fetch(&self, old: Option<&NodeList>) -> Result<NodeList, NetworkError> {
        let mut disagreement = None;
        if let Some(old) = old {
            match self.fetch_from_nodes(old).await {
                Ok(list) => return Ok(list),
                Err(error) => {
                    tracing::info!(%error, "the nodes gave no list; the seeds are asked");
                    disagreement = matches!(error.cause(), Cause::Disagreement { .. }).then_some(error);
                }
            }
        }
        self.fetch_from_seeds()
            .await
            .map_err(|error| disagreement.unwrap_or(error))
    }

    /// Fetches the lists of three nodes. As many again stand in for those that fail: of two lists only, one node alone could
    /// choose which nodes are left.
    async fn fetch_from_nodes(&self, old: &NodeList) -> Result<NodeList, NetworkError> {
        let wanted = SOURCES.min(old.nodes().len());
        let mut sources = choose(old.nodes(), 2 * SOURCES, |_| true, &mut UnwrapErr(SysRng));
        let (mut lists, mut failure) = (Vec::with_capacity(wanted), Cause::EmptyList);
        while lists.len() < wanted && !sources.is_empty() {
            let missing = wanted - lists.len();
            let asked = sources.split_off(sources.len().saturating_sub(missing));
            for answer in join_all(asked.iter().map(|node| self.list_of(node))).await {
                match answer {
                    Ok(list) => lists.push(list),
                    Err(error) => failure = error.cause().clone(),
                }
            }
        }
        if lists.len() < wanted {
            return Err(NetworkError::new(failure));
        }
        // A network does not lose half of its nodes between two lists.
        let needed = old.nodes().len() / 2;
        agree(&lists, PRESENCE, needed).map_err(|error| {
            NetworkError::new(Cause::Disagreement {
                in_common: error.in_common,
                needed: error.needed,
            })
        })
    }

    /// Asks a node for its list, directly: this says nothing about any mailbox.
    async fn list_of(&self, node: &Node) -> Result<NodeList, NetworkError> {
        let limit = MAX_LIST_LEN_BYTES * 4 / 3 + SEALED_EXTRA_LEN_BYTES;
        let (reply, told) = self.call_for_time(&Call::all_nodes(), node, limit).await?;
        if let Some(told) = told {
            self.lock_offsets().add(told);
        }
        if reply.status != 200 {
            return Err(NetworkError::new(Cause::NodeFailed { status: reply.status }));
        }
        self.read(reply.body).await
    }

    async fn fetch_from_seeds(&self) -> Result<NodeList, NetworkError> {
        let seeds = self.inner.options.seed_list();
        let (started, mut tried) = (Instant::now(), 0);
        let mut last = None;
        // Seeds of one kind are asked in random order, nodes before servers.
        let mut order: Vec<_> = seeds.iter().collect();
        shuffle(&mut order);
        order.sort_by_key(|seed| matches!(seed, Seed::Tls { .. }));
        for seed in order {
            if tried > 0 && started.elapsed() > self.inner.options.send_limit() {
                break;
            }
            tried += 1;
            match self.list_of_seed(seed).await {
                Ok(list) => return Ok(list),
                Err(error) => last = Some((seed.address(), error)),
            }
        }
        let (last, error) = last.ok_or_else(|| NetworkError::new(Cause::EmptyList))?;
        Err(NetworkError::new(Cause::NoSeed {
            tried,
            last,
            why: Box::new(error.cause().clone()),
        }))
    }

    pub(crate) async fn list_of_seed(&self, seed: &Seed) -> Result<NodeList, NetworkError> {
        if let Some(node) = seed.as_node() {
            return self.list_of(&node).await;
        }
        let Seed::Tls {
            url,
            certificate_sha256,
        } = seed
        else {
            return Err(NetworkError::new(Cause::EmptyList));
        };
        let url = format!("{}{SEED_PATH}", url.as_str().trim_end_matches('/'));
        let body = Call::all_nodes_of_seed().to_plain_body().into_bytes();
        let answer = self
            .inner
            .http
            .post_pinned(&url, *certificate_sha256, body, MAX_LIST_LEN_BYTES)
            .await
            .map_err(|fault| {
                NetworkError::new(Cause::Http {
                    address: seed.address(),
                    fault,
                })
            })?;
        if answer.status != 200 {
            return Err(NetworkError::new(Cause::NodeFailed {
                status: answer.status,
            }));
        }
        self.read(answer.text().into_owned()).await
    }
}

impl Network {
    /// Reads a list. It has about a thousand keys, whose points are checked off the async threads.
    async fn read(&self, text: String) -> Result<NodeList, NetworkError> {
        let list = off_thread(move || NodeList::from_json(&text)).await?;
        let list = list.map_err(|_| {
            NetworkError::new(Cause::Unreadable {
                detail: "it is not a list of nodes",
            })
        })?;
        let list = self.reachable(list);
        if list.nodes().is_empty() {
            return Err(NetworkError::new(Cause::EmptyList));
        }
        if list.nodes().iter().all(|node| node.swarm == SwarmId::NONE) {
            return Err(NetworkError::new(Cause::NoSwarm));
        }
        Ok(list)
    }

    /// The list without addresses that no node of the public network can have: a list could make this program call machines of the
    /// local network. Own networks may have any.
    pub(crate) fn reachable(&self, list: NodeList) -> NodeList {
        if !self.inner.options.is_public() {
            return list;
        }
        NodeList::from_nodes(list.nodes().iter().copied().filter(|node| is_public(node.ip)))
    }
}

fn is_public(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let is_shared = first == 100 && (64..128).contains(&second);
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || is_shared
        || first == 0
        || first >= 224)
}

fn shuffle<T>(list: &mut [T]) {
    for end in (1..list.len()).rev() {
        let mut bytes = [0; 8];
        if getrandom::fill(&mut bytes).is_err() {
            return;
        }
        let at = u64::from_le_bytes(bytes) % (end as u64 + 1);
        list.swap(end, usize::try_from(at).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::tests::nodes;

    #[test]
    fn the_public_network_has_no_nodes_at_local_addresses() {
        let list = nodes(10);
        let public = Network::builder().build().expect("good options");
        assert!(public.reachable(list.clone()).nodes().is_empty(), "10.0.0.0/8");
        let seed = "https://127.0.0.1:1#".to_owned() + &"ab".repeat(32);
        let own = Network::builder().seeds([seed.parse().expect("a seed")]);
        let own = own.build().expect("good options");
        assert_eq!(own.reachable(list.clone()), list, "an own network");
        for (ip, expected) in [
            ([127, 0, 0, 1], false),
            ([192, 168, 1, 1], false),
            ([172, 31, 0, 1], false),
            ([172, 32, 0, 1], true),
            ([169, 254, 169, 254], false),
            ([100, 64, 0, 1], false),
            ([100, 128, 0, 1], true),
            ([224, 0, 0, 1], false),
            ([255, 255, 255, 255], false),
            ([0, 0, 0, 1], false),
            ([95, 216, 33, 113], true),
        ] {
            assert_eq!(is_public(ip.into()), expected, "{ip:?}");
        }
    }
}
