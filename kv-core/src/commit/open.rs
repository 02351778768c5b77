//! Opening a store: it is created, or migrated and checked, and read.

use super::{
    migrate,
    program::Program,
    state::{self, State},
};
use crate::{
    engine::{CommitNo, Engine, Visibility},
    env::RandomIds,
    error::OpenError,
    types::MemberId,
};

/// How a store is created. A store that exists already must fit it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Creation {
    /// The location that the store belongs to. By default a new store gets a random id, and one that exists
    /// has the id that it has.
    pub member: Option<MemberId>,
    /// Whether a new store joins a cluster that has data: it rebuilds until a session has brought this. A store
    /// of another location that nothing was ever written to counts as new.
    pub is_joining: bool,
}

/// A store that was opened.
pub(super) struct Opened<S> {
    /// Its state.
    pub(super) state: State,
    /// The snapshot from which the state was read.
    pub(super) snapshot: S,
    /// Its last commit.
    pub(super) last: CommitNo,
}

/// Opens the store in `engine` as this program does, or creates one there.
pub(super) fn open<E: Engine>(
    engine: &E,
    creation: Creation,
    random: &mut RandomIds,
    program: &Program,
) -> Result<Opened<E::Snapshot>, OpenError> {
    let mut last = create_or_migrate(engine, creation, random, program)?;
    let (snapshot, state) = read(engine)?;
    let Some(expected) = creation.member.filter(|member| *member != state.member) else {
        return Ok(Opened { state, snapshot, last });
    };
    if !creation.is_joining || !state.is_unwritten() {
        return Err(OpenError::Member { found: state.member, expected });
    }
    last += 1;
    let rows = state::founding_rows(expected, true);
    engine.commit(last, rows).map_err(OpenError::Engine)?;
    engine.sync(last).map_err(OpenError::Engine)?;
    let (snapshot, state) = read(engine)?;
    Ok(Opened { state, snapshot, last })
}

/// Creates a store if there is none; else migrates the one that is there to the newest format of the program.
/// Returns the last commit.
fn create_or_migrate<E: Engine>(
    engine: &E,
    creation: Creation,
    random: &mut RandomIds,
    program: &Program,
) -> Result<CommitNo, OpenError> {
    let snapshot = engine.snapshot(Visibility::Latest).map_err(OpenError::Engine)?;
    let latest = engine.status().latest;
    if !state::is_new(&snapshot)? {
        program.check_features(&snapshot)?;
        return migrate::migrate(engine, latest, program);
    }
    let member = match creation.member {
        Some(member) => member,
        None => MemberId(random()?),
    };
    let mut rows = state::founding_rows(member, creation.is_joining);
    migrate::put_format(&mut rows, program.formats.newest, &program.version);
    engine.commit(latest + 1, rows).map_err(OpenError::Engine)?;
    engine.sync(latest + 1).map_err(OpenError::Engine)?;
    Ok(latest + 1)
}

/// Reads the state from a new snapshot.
fn read<E: Engine>(engine: &E) -> Result<(E::Snapshot, State), OpenError> {
    let snapshot = engine.snapshot(Visibility::Latest).map_err(OpenError::Engine)?;
    let state = State::load(&snapshot)?;
    Ok((snapshot, state))
}
