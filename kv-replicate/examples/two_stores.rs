//! Two stores in one process converge. Messages are passed by hand, and time is a number.

use std::{error::Error, sync::Arc, time::Duration};

use kv_core::{
    Account, Attributes, Key, MemberId, NamespaceId, Operation, Title,
    commit::{Committer, Creation},
    engine::{disk, redb::RedbEngine},
    writer::{WriterConfig, WriterCore},
};
use kv_replicate::{Config, Core, Event, Now, drive, replicator::Replicator};

type Writer =
    WriterCore<RedbEngine, (), Replicator<<RedbEngine as kv_core::engine::Engine>::Snapshot>>;

fn open(id: u8) -> Result<(Core, Writer), Box<dyn Error>> {
    let engine = Arc::new(RedbEngine::open(disk::memory(), 8 << 20)?);
    let member = MemberId([id; 16]);
    // The first location has the cluster's data. The second one joins it.
    let creation = Creation { member: Some(member), is_joining: id > 1 };
    let mut last = id;
    let random = move || {
        last += 10;
        Ok([last; 16])
    };
    let committer = Committer::open(engine, creation, random)?;
    let config = Config::new([9; 16], member, u64::from(id));
    let mut writer = WriterCore::new(committer, WriterConfig::default(), Duration::ZERO);
    writer.replicate(Some(Replicator::default()));
    writer.run(Default::default(), kv_core::writer::Step::Sync);
    let state = writer.replicator().expect("it was just given").state().clone();
    Ok((Core::new(config, Now::default(), state), writer))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (id, namespace) = ([MemberId([1; 16]), MemberId([2; 16])], NamespaceId([5; 16]));
    let mut locations = [open(1)?, open(2)?];
    // The first location makes both members of the cluster, and writes a value.
    let mut operations = Vec::new();
    for at in [0, 1] {
        let name = format!("location {at}");
        operations.push(Operation::PutMember { id: id[at], name, addresses: vec![] });
    }
    let (account, title) = (Account::default(), Title::new("greetings")?);
    operations.push(Operation::CreateNamespace { account, title, id: Some(namespace) });
    let mut upload = locations[0].1.committer().upload();
    upload.push(b"world")?;
    let (key, (_, body), attributes) = (Key::new("hello")?, upload.finish(), Attributes::default());
    operations.push(Operation::Put { namespace, key, body, attributes });
    operations.into_iter().for_each(|operation| locations[0].1.request((), operation));
    // A link comes up. Then each location does its work and passes its messages on.
    locations[0].0.handle_event(Now::default(), Event::Connected(id[1]));
    locations[1].0.handle_event(Now::default(), Event::Connected(id[0]));
    for ms in (1_000..5_000).step_by(10) {
        let now = Now { mono: Duration::from_millis(ms), wall_ms: ms };
        for (at, peer) in [(0, 1), (1, 0)] {
            let (core, writer) = &mut locations[at];
            core.handle_timeout(now);
            drive(core, writer, now, &mut drop);
            while let Some(message) = locations[at].0.poll_transmit(id[peer]) {
                let received = Event::Received { from: id[at], bytes: message.bytes };
                locations[peer].0.handle_event(now, received);
            }
        }
    }
    let view = locations[1].1.committer().view();
    assert!(view.row(namespace, b"hello")?.is_some(), "the second location has the value");
    assert_eq!(locations[0].1.committer().view().vector(), view.vector());
    Ok(())
}
