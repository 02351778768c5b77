//! The clients' calls.

use std::collections::BTreeSet;

use kv_core::{
    Account, Attributes, Dot, FieldNumber, FieldValue, Key, Metadata, Namespace, NamespaceId,
    Operation, Title, derive_id, engine::Engine,
};
use kv_replicate::Row;
use waypost_disk_tests::violation::{Checked, During};

use super::{Happening, World};
use crate::{events::Event, node::START_MS, store};

const TITLES: [&str; 3] = ["one", "two", "three"];

impl World {
    /// Each location makes the same namespaces.
    pub(super) fn create_namespaces(&mut self, node: usize) -> Checked {
        let create = |title: &str| Operation::CreateNamespace {
            account: Account::default(),
            title: Title::new(title).expect("a title"),
            id: None,
        };
        self.write(node, TITLES[..2].iter().map(|title| create(title)).collect())
    }

    pub(super) fn client(&mut self) -> Checked {
        if self.is_healed {
            return Ok(());
        }
        let pause = self.rng.below(2 * self.plan.pause_ms + 1);
        self.after(pause, Happening::Client);
        let can_write =
            |node: &usize| self.nodes[*node].is_joined() && !self.nodes[*node].is_superseded();
        let open: Vec<_> = self.running().into_iter().filter(can_write).collect();
        if open.is_empty() {
            return Ok(());
        }
        let node = *self.rng.pick(&open);
        self.report.operations += 1;
        if self.rng.chance(3) {
            self.keep_image(node);
        }
        if self.rng.chance(2) {
            let operation = self.namespace_operation();
            return self.write(node, vec![operation]);
        }
        if self.rng.chance(2) {
            return self.write_unknown_row(node);
        }
        if self.rng.below(100) < self.plan.large {
            return self.put_large(node);
        }
        let some = self.rng.between(1, 3);
        let operations = (0..some).filter_map(|_| self.small_operation(node)).collect();
        self.write(node, operations)
    }

    fn namespace_operation(&mut self) -> Operation {
        let id = derive_id("", self.rng.pick::<&str>(&TITLES), 0);
        match self.rng.below(6) {
            0 => Operation::DropNamespace { id: derive_id("", TITLES[2], 0) },
            1 | 2 => {
                let title = Title::new(format!("title {}", self.rng.below(4))).expect("a title");
                Operation::RenameNamespace { id, title }
            }
            _ => Operation::CreateNamespace {
                account: Account::default(),
                title: Title::new(TITLES[2]).expect("a title"),
                id: None,
            },
        }
    }

    /// Locations that may not reach each other drop one namespace, create it and write to it.
    pub(super) fn race_for_namespace(&mut self) -> Checked {
        let id = derive_id("", TITLES[2], 0);
        let can_write = |node: &usize| {
            let node = &self.nodes[*node];
            node.is_joined() && !node.is_restored
        };
        let nodes: Vec<_> = self.running().into_iter().filter(can_write).collect();
        for _ in 0..3 * nodes.len() {
            let node = *self.rng.pick(&nodes);
            let key = Key::new(format!("key {}", self.rng.below(3))).expect("a key");
            let create = Operation::CreateNamespace {
                account: Account::default(),
                title: Title::new(TITLES[2]).expect("a title"),
                id: None,
            };
            let operations = match self.rng.below(5) {
                0 => vec![Operation::DropNamespace { id }],
                1 => vec![create],
                2 => vec![Operation::Delete { namespace: id, key }],
                _ => {
                    let put = self.small_put(node, (id, key), 20);
                    [create].into_iter().chain(put).collect()
                }
            };
            self.write(node, operations)?;
            self.sync(node)?;
        }
        if nodes.len() > 1 {
            self.count(Event::NamespaceRace);
        }
        Ok(())
    }

    /// Writes fields of a row of a kind that this program does not know, as a newer one would.
    fn write_unknown_row(&mut self, node: usize) -> Checked {
        let key = Key::new(format!("unknown {}", self.rng.below(3))).expect("a key");
        let mut fields = Vec::new();
        for _ in 0..self.rng.between(1, 3) {
            let number = u8::try_from(self.rng.between(1, 15)).ok().and_then(FieldNumber::new);
            let value = FieldValue::new(self.rng.below(1 << 32).to_be_bytes().to_vec());
            fields.push((number.expect("a field number"), value.expect("a short value")));
        }
        self.count(Event::UnknownRow);
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let view = running.store.committer().view();
        let found = view.row(NamespaceId::SYSTEM, &key).during("reading a row")?;
        if found.is_some_and(|found| {
            let origins = found.dots().into_iter().map(|dot| dot.origin);
            origins.collect::<BTreeSet<_>>().len() > 1
        }) {
            self.count(Event::UnknownRowJoined);
        }
        self.write(node, vec![Operation::WriteFields { key, fields }])
    }

    fn place(&mut self) -> (NamespaceId, Key) {
        let title = self.rng.weighted(&[(5, TITLES[0]), (3, TITLES[1]), (1, TITLES[2])]);
        let key = format!("key {}", self.rng.below(self.plan.keys));
        (derive_id("", title, 0), Key::try_from(key).expect("a key"))
    }

    fn attributes(&mut self, node: usize) -> Attributes {
        let expires_at = self.rng.chance(15).then(|| self.expiry(node));
        let metadata = self.rng.chance(10).then(|| format!("{}", self.rng.below(1000)));
        let metadata = metadata.map(|text| Metadata::new(text).expect("a short text"));
        Attributes { metadata, expires_at }
    }

    /// An expiry within seconds or a day, from now on the true clock or on the one that the location goes by.
    fn expiry(&mut self, node: usize) -> u64 {
        let now = self.nodes[node].now(self.now);
        let clock = self.nodes[node].running.as_ref().map(|running| running.core.clock());
        let cluster_ms = clock.unwrap_or_default().now_ms(now.mono, now.wall_ms);
        let from_ms = if self.rng.chance(50) { self.true_ms() } else { cluster_ms };
        from_ms / 1000 + self.rng.weighted(&[(2, 20), (1, 86_400)]).min(self.rng.below(86_400))
    }

    fn small_operation(&mut self, node: usize) -> Option<Operation> {
        let (namespace, key) = self.place();
        if self.rng.chance(30) {
            return Some(Operation::Delete { namespace, key });
        }
        // The largest go into chunks of their own, and still come with their row.
        let most = self.rng.weighted(&[(8, 30), (2, 3_000), (1, 10_000)]);
        let len = self.rng.index(most);
        self.small_put(node, (namespace, key), len)
    }

    fn small_put(
        &mut self,
        node: usize,
        (namespace, key): (NamespaceId, Key),
        len: usize,
    ) -> Option<Operation> {
        let byte = u8::try_from(self.rng.below(256)).unwrap_or(0);
        let attributes = self.attributes(node);
        let running = self.nodes[node].running.as_mut()?;
        let mut upload = store::upload(&mut running.store);
        upload.push(&vec![byte; len]).ok()?;
        let (_, body) = upload.finish();
        Some(Operation::Put { namespace, key, body, attributes })
    }

    fn put_large(&mut self, node: usize) -> Checked {
        let (namespace, key) = self.place();
        let len = 65_281 + self.rng.index(400_000);
        let byte = u8::try_from(self.rng.below(256)).unwrap_or(0);
        let attributes = self.attributes(node);
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let mut upload = store::upload(&mut running.store);
        let Ok(mut operations) = upload.push(&vec![byte; len]) else { return Ok(()) };
        let (last, body) = upload.finish();
        operations.extend(last);
        operations.push(Operation::Put { namespace, key, body, attributes });
        self.write(node, operations)
    }

    /// Commits local operations; the next sync acknowledges them.
    pub(super) fn write(&mut self, node: usize, operations: Vec<Operation>) -> Checked {
        let now = self.nodes[node].now(self.now);
        if self.nodes[node].running.as_ref().is_some_and(|it| it.core.sessions().1 > 0) {
            self.count(Event::WroteWhileServing);
        }
        let drops = operations.iter().any(|op| matches!(op, Operation::DropNamespace { .. }));
        let creates = |op: &Operation| matches!(op, Operation::CreateNamespace { .. });
        let creates = operations.iter().any(creates);
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        running.follow_clock();
        let view = running.store.committer().view();
        let had: BTreeSet<_> = view.namespaces().iter().map(|found| found.id).collect();
        let first = self.last_token + 1;
        self.last_token += operations.len() as u64;
        let made = operations.len();
        let rows = store::commit(&mut running.store, now, (first..).zip(operations));
        // An operation that changed nothing needs no sync.
        let latest = running.store.committer().engine().status().latest;
        let commit = if rows.is_empty() { 0 } else { latest };
        running.unanswered.extend((first..=self.last_token).map(|token| (token, commit)));
        let view = running.store.committer().view();
        let is_again = |row: &Row| {
            let id = Namespace::id_of(&row.key).filter(|_| row.namespace == NamespaceId::SYSTEM);
            let namespace = id.and_then(|id| view.namespaces().get(id));
            namespace.is_some_and(|it| it.dropped_at.is_some() && !had.contains(&it.id))
        };
        if creates && rows.iter().any(is_again) {
            self.count(Event::NamespaceRecreated);
        }
        if drops && !rows.is_empty() {
            self.count(Event::NamespaceDropped);
        }
        self.trace(|| {
            let told: Vec<(Dot, _, _, _)> = rows
                .iter()
                .map(|row| (row.dot, row.hlc, row.key.clone(), row.expires_at))
                .collect();
            format!("{node}: {made} operations; writes {told:?}")
        });
        self.nodes[node].open.extend(rows);
        if self.after_step(node)? {
            return Ok(());
        }
        self.sync_later(node);
        Ok(())
    }

    /// The time that a correct clock shows now.
    pub(super) fn true_ms(&self) -> u64 {
        START_MS + self.now
    }
}
