//! What operators do to locations, on purpose or by accident: they stop them, copy and restore their directories,
//! let their clocks be wrong, remove them, damage their disks, and read their status.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
    process::Output,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use waypost_link_tests::Ways;

use super::{Cluster, Location, PATIENCE, text};
use crate::{Address, clock::Faketime, wait};

/// How a location is cut off from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The network drops all packets between it and the others.
    Network,
    /// The processes of all others are stopped.
    Stopped,
}

/// A copy of a data directory.
#[derive(Debug)]
pub struct Image(TempDir);

/// The answer of `waypost cluster status`.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its answer to `--json`.
    pub info: Value,
    /// What it prints for people, on stdout and then on stderr.
    pub shown: String,
    /// Whether it exits with 0.
    pub is_success: bool,
}

impl Status {
    /// The alarms.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        let alarms = self.info["alarms"].as_array().into_iter().flatten();
        alarms.filter_map(|alarm| alarm["text"].as_str().map(str::to_owned)).collect()
    }

    /// The kinds of the alarms, each with the location that it is about, if it is about one.
    #[must_use]
    pub fn kinds(&self) -> Vec<(String, Option<String>)> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let alarms = self.info["alarms"].as_array().into_iter().flatten();
        let kind = |alarm: &Value| Some((text(&alarm["kind"])?, text(&alarm["location"])));
        alarms.filter_map(kind).collect()
    }

    /// Another location, as this one sees it; null if it is not listed.
    #[must_use]
    pub fn peer(&self, name: &str) -> Value {
        let mut peers = self.info["peers"].as_array().into_iter().flatten();
        peers.find(|peer| peer["name"] == name).cloned().unwrap_or_default()
    }

    /// Whether it says that all is well.
    #[must_use]
    pub fn says_well(&self) -> bool {
        self.info["is_well"] == true
    }

    /// Whether an alarm contains all of these fragments, letter case ignored.
    #[must_use]
    pub fn has_alarm(&self, fragments: &[&str]) -> bool {
        self.alarms().iter().any(|alarm| contains_all(alarm, fragments))
    }

    /// Whether there is no alarm, and the command exits with 0.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.is_success && self.alarms().is_empty()
    }
}

/// Whether a text contains all of these fragments, letter case ignored.
#[must_use]
pub fn contains_all(text: &str, fragments: &[&str]) -> bool {
    let text = text.to_lowercase();
    fragments.iter().all(|fragment| text.contains(&fragment.to_lowercase()))
}

impl Location {
    /// Runs the program with these arguments, against this location's server.
    ///
    /// # Panics
    /// If the location is down, or the program can't be run.
    #[must_use]
    pub fn call(&self, arguments: &[&str]) -> Output {
        let Address::Tcp(address) = self.server().address() else {
            panic!("locations listen on TCP");
        };
        let url = format!("http://{address}");
        let mut command = self.home().command(arguments);
        command.args(["--server", &url]).output().expect("the program runs")
    }

    /// `waypost cluster status` of its server.
    ///
    /// # Panics
    /// If the location is down, or the program can't be run.
    #[must_use]
    pub fn status(&self) -> Status {
        let info =
            serde_json::from_slice(&self.cluster_online("status").stdout).unwrap_or_default();
        let output = self.call(&["cluster", "status"]);
        let shown = [text(&output.stdout), text(&output.stderr)].concat();
        Status { info, shown, is_success: output.status.success() }
    }

    /// Waits until its status is as wanted. Returns the last status as an error if it does not become so.
    ///
    /// # Errors
    /// After `limit`.
    pub fn status_becomes(
        &self,
        limit: Duration,
        is_wanted: impl Fn(&Status) -> bool,
    ) -> Result<Status, Box<Status>> {
        let mut last = None;
        let found = wait::until(limit, || {
            let status = self.status();
            last = Some(status.clone());
            is_wanted(&status).then_some(status)
        });
        found.ok_or_else(|| Box::new(last.expect("it has looked at least once")))
    }

    /// Copies its data directory. It must be down: an operator who copies a running one gets a torn store.
    ///
    /// # Panics
    /// If it is up, or the files can't be copied.
    #[must_use]
    pub fn image(&self) -> Image {
        assert!(!self.is_up(), "the location is up");
        let image = Image(TempDir::with_prefix("waypost-image-").expect("a temporary directory"));
        copy(&self.home().data(), &image.0.path().join("data"));
        image
    }

    /// Puts an image in the place of its data directory. It must be down.
    ///
    /// # Panics
    /// If it is up, or the files can't be copied.
    pub fn restore(&self, image: &Image) {
        assert!(!self.is_up(), "the location is up");
        let data = self.home().data();
        if data.exists() {
            fs::remove_dir_all(&data).expect("the data directory can be removed");
        }
        copy(&image.0.path().join("data"), &data);
    }

    /// Flips one bit of its store's file in each place where these bytes are, in the middle of them. Returns in
    /// how many places they were: redb leaves old copies of rows in free pages. It must be down.
    ///
    /// # Panics
    /// If it is up, or the file can't be changed.
    #[must_use]
    pub fn damage(&self, bytes: &[u8]) -> usize {
        assert!(!self.is_up(), "the location is up");
        damage(&self.home().data(), bytes)
    }

    /// Makes the image of another location that it was given run beside that one, as itself: at this location's
    /// own ports. An operator who starts a copy on the same machine must change these two lines.
    ///
    /// # Panics
    /// If the copy has no `cluster.toml` of the other location.
    pub fn move_in(&self, other: &Location) {
        let path = self.home().data().join("cluster/cluster.toml");
        let about = fs::read_to_string(&path).expect("a member has a cluster.toml");
        let mut moved = about.clone();
        for (from, to) in
            [(other.listen(), self.listen()), (other.proxy().address(), self.proxy().address())]
        {
            assert!(moved.contains(&from.to_string()), "{about}");
            moved = moved.replace(&from.to_string(), &to.to_string());
        }
        fs::write(&path, moved).expect("cluster.toml can be written");
    }
}

/// See [`Location::damage`].
fn damage(data: &Path, bytes: &[u8]) -> usize {
    let path = data.join("waypost.redb");
    let all = fs::read(&path).expect("the store has a file");
    let file = fs::File::options().write(true).open(&path).expect("the file can be written");
    let mut places = 0;
    // The first byte finds candidates quickly; the file has some hundred KiB.
    for at in (0..all.len().saturating_sub(bytes.len())).filter(|at| all[*at] == bytes[0]) {
        if all[at..at + bytes.len()] == *bytes {
            let middle = at + bytes.len() / 2;
            file.write_all_at(&[all[middle] ^ 1], middle as u64).expect("a byte can be written");
            places += 1;
        }
    }
    places
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    let mode = fs::metadata(from).expect("it is there").permissions().mode();
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).expect("its mode can be set");
    for entry in fs::read_dir(from).expect("a directory can be read") {
        let entry = entry.expect("a directory can be read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("an entry has a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a file can be copied");
        }
    }
}

impl Cluster {
    /// Gives each location a wall clock of its own, which its later processes see.
    pub fn give_clocks(&mut self, faketime: &Faketime) {
        self.locations.iter_mut().for_each(|location| location.give_clock(faketime));
    }

    /// Steps a location's clock to `ahead` seconds ahead of the true time; behind it, if negative.
    ///
    /// # Panics
    /// If the location has no clock of its own.
    pub fn set_clock(&self, number: usize, ahead: i64) {
        self.locations[number].clock().expect("it has a clock").set(ahead);
    }

    /// SIGTERM, and the wait for the end.
    ///
    /// # Panics
    /// If it is down already, or does not end.
    pub fn stop(&mut self, number: usize) {
        self.stop_while(number, |_| {});
    }

    /// SIGTERM, something that is done then, and the wait for the end.
    ///
    /// # Panics
    /// If it is down already, or does not end.
    pub fn stop_while(&mut self, number: usize, meanwhile: impl FnOnce(&Cluster)) {
        self.addresses.set(number, None);
        let server = self.locations[number].take_server();
        let status = server.stop_while(|| meanwhile(self));
        assert!(status.success(), "location {number} stopped with {status}");
    }

    /// Starts a location that is down. Returns an error with the reason if it is not ready within `limit`; then it is
    /// down.
    ///
    /// # Errors
    /// If it ends, or takes too long.
    ///
    /// # Panics
    /// If it is not down.
    pub fn try_restart(&mut self, number: usize, limit: Duration) -> Result<(), String> {
        assert!(!self.locations[number].is_up(), "location {number} is up");
        self.try_run(number, &[], limit)
    }

    /// Starts a location that is down, and waits until it listens, whether it is ready or not.
    ///
    /// # Panics
    /// If it is not down, or ends at its start.
    pub fn restart_unready(&mut self, number: usize) {
        assert!(!self.locations[number].is_up(), "location {number} is up");
        let address = self.locations[number].serve(&[]);
        self.addresses.set(number, Some(address));
    }

    /// Starts a server on the data of a location that may be in no cluster yet.
    ///
    /// # Panics
    /// If it does not get ready.
    pub fn serve(&mut self, number: usize, flags: &[&str]) {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        self.run(number, &flags);
    }

    /// Cuts a location off from all others, which are up. The location itself may be down.
    ///
    /// # Panics
    /// If another location does not stop.
    pub fn isolate(&mut self, number: usize, cut: Cut) {
        match cut {
            Cut::Network => self.cut_off(number, Ways::Both),
            Cut::Stopped => {
                for other in self.members().into_iter().filter(|other| *other != number) {
                    self.stop(other);
                }
            }
        }
    }

    /// Ends the cut, and starts all members that are down.
    ///
    /// # Panics
    /// If one does not get ready.
    pub fn reunite(&mut self) {
        self.heal();
        for number in self.members() {
            if !self.locations[number].is_up() {
                self.restart(number);
            }
        }
    }

    /// The numbers of all locations that have founded or joined the cluster.
    #[must_use]
    pub fn members(&self) -> Vec<usize> {
        (0..self.len()).filter(|number| self.locations[*number].is_member()).collect()
    }

    /// Waits until each location that is up has links to all others.
    ///
    /// # Panics
    /// If one does not.
    pub fn wait_until_linked(&self) {
        for (number, location) in self.locations.iter().enumerate() {
            if !location.is_up() {
                continue;
            }
            let linked = location.status_becomes(PATIENCE, |status| {
                let mut peers = status.info["peers"].as_array().into_iter().flatten();
                peers.all(|peer| peer["is_connected"] == true)
            });
            assert!(linked.is_ok(), "location {number} has no link to all others: {linked:?}");
        }
    }

    /// Removes a location: `waypost cluster remove` at another one. It may be up or down.
    ///
    /// # Panics
    /// If that does not work.
    pub fn remove(&mut self, number: usize, by: usize) {
        let name = format!("location-{number}");
        let output = self.locations[by].call(&["cluster", "remove", &name, "--yes"]);
        assert!(output.status.success(), "{output:?}");
        self.locations[number].set_member(false);
    }
}
