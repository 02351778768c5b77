//! Counts events and formats the lines of the trace.

use kv_core::{Outcome, WriteError, commit::Applied};

use super::World;
use crate::{
    disk::{Call, Fault},
    events::Event,
    model::{DROPPED, Name, Op, What},
};

/// The store's activity when a fault occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Commit,
    Sync,
    Gc,
    Maintain,
    Open,
    Close,
    Read,
}

impl World {
    /// Counts the faults that occurred during a call.
    pub(super) fn note_faults(&mut self, doing: Doing) {
        let fired = self.disk.counts().fired;
        let new = fired[self.seen_faults..].to_vec();
        self.seen_faults = fired.len();
        let mut is_recovering = doing == Doing::Maintain;
        self.is_troubled |= self.disk.is_full();
        for (call, fault) in new {
            self.is_troubled = true;
            self.trace(|| format!("  FAULT in {doing:?}: {call:?} {fault:?}"));
            let event = match fault {
                Fault::PowerLoss(_)
                    if is_recovering || (call == Call::Open && doing != Doing::Open) =>
                {
                    Event::PowerLossInRecovery
                }
                Fault::PowerLoss(_) => match doing {
                    Doing::Commit => Event::PowerLossInCommit,
                    Doing::Sync => Event::PowerLossInSync,
                    Doing::Gc => Event::PowerLossInGc,
                    Doing::Maintain => Event::PowerLossInRecovery,
                    Doing::Open if self.history.is_none() => Event::PowerLossInFounding,
                    Doing::Open => Event::PowerLossInOpen,
                    Doing::Close => Event::PowerLossInClose,
                    Doing::Read => Event::PowerLoss,
                },
                Fault::Kill => Event::Kill,
                Fault::Full => Event::DiskFull,
                Fault::Fail { evict, .. } => {
                    is_recovering = true;
                    match call {
                        Call::Open | Call::List => Event::OpenFailed,
                        Call::Create | Call::Remove => Event::CreateFailed,
                        Call::SyncDirectory => Event::DirectorySyncFailed,
                        Call::Read => Event::ReadFailed,
                        Call::Write => Event::WriteFailed,
                        Call::SetLen => Event::SetLenFailed,
                        Call::Sync if evict => Event::SyncDroppedWrites,
                        Call::Sync => Event::SyncFailedReadOnly,
                    }
                }
            };
            self.count(event);
        }
    }

    pub(super) fn count_outcome(&mut self, op: &Op, outcome: &Outcome) {
        let Outcome::Applied(applied) = outcome else {
            match op {
                Op::Create(..) => self.count(Event::NamespaceMade),
                Op::Rename(..) => self.count(Event::NamespaceRenamed),
                Op::Drop(..) => self.count(Event::NamespaceDropped),
                Op::Save(..) => self.count(Event::LocalSaved),
                Op::Unsave => self.count(Event::LocalDropped),
                _ => {}
            }
            return;
        };
        let event = match applied {
            Applied::Won { concurrent: true } => Event::Concurrent,
            Applied::Won { .. } => Event::RemoteWon,
            Applied::Lost => Event::RemoteLost,
            Applied::Known => Event::Duplicate,
            Applied::Dropped => Event::RemoteDropped,
            Applied::Adopted => Event::SessionAdopted,
            Applied::Gap { .. } => Event::GapRefused,
            Applied::Conflict
            | Applied::Refused(_)
            | Applied::Late(_)
            | Applied::NoRoom
            | Applied::Full
            | Applied::FarAhead
            | Applied::Ignored => Event::RemoteRefused,
            Applied::Rebuilding => Event::RebuildBegan,
            Applied::Removed | Applied::Uncounted => Event::RowDropped,
            Applied::Unopened => Event::RemoteUnopened,
        };
        self.count(event);
        if let Op::Rebuilt(..) = op {
            self.count(Event::RebuildEnded);
        }
        if let (Op::Next(write) | Op::Row(write), Applied::Won { .. }) = (op, applied) {
            if write.row.what == What::ExpiredTombstone {
                self.count(Event::RemoteExpiredTombstone);
            }
            if let What::Joined(fields) = &write.row.what
                && fields.contains_key(&DROPPED)
            {
                self.count(Event::NamespaceDroppedByPeer);
            }
        }
    }
}

pub(super) fn brief(op: &Op) -> String {
    let name = |name: &Name| {
        format!("{}/{}", &name.0.to_string()[..6], name.1[..name.1.len().min(8)].escape_ascii())
    };
    match op {
        Op::Put(at, content, attributes) => {
            format!("put {} {content:?} expires {:?}", name(at), attributes.expires_at)
        }
        Op::Delete(at) => format!("delete {}", name(at)),
        Op::Stage => "stage".into(),
        Op::Create(account, title, id) => format!("create {account:?} {title:?} {id:?}"),
        Op::Rename(id, title) => format!("rename {id} {title:?}"),
        Op::Drop(id) => format!("drop {id}"),
        Op::Save(content) => format!("save {content:?}"),
        Op::Unsave => "drop the local state".into(),
        Op::Next(write) | Op::Row(write) => {
            let kind = if matches!(op, Op::Next(_)) { "next" } else { "row" };
            let (dot, version) = (write.row.dot, write.row.version);
            let origin = &dot.origin.to_string()[..6];
            format!(
                "{kind} {origin}.{} {:?} {} {:?}",
                dot.seq,
                version.hlc,
                name(&write.name),
                write.row.what
            )
        }
        Op::Adopt(..) => "adopt".into(),
        Op::Rebuild => "rebuild".into(),
        Op::DropRow(at, dot) => format!("drop the row {} {dot:?}", name(at)),
        Op::Rebuilt(..) => "rebuilt".into(),
    }
}

pub(super) fn brief_result(result: &Result<Outcome, WriteError>) -> String {
    match result {
        Ok(Outcome::Written(written)) => format!("{} {:?}", written.dot.seq, written.version.hlc),
        Ok(Outcome::Namespace(namespace)) => format!("{}", namespace.id),
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("refused: {error}"),
    }
}
