//! No core dumps: the memory of a server contains values, tokens and keys, and a dump of it would be a file that others
//! may read, or that a collector sends away.

/// Makes this process leave no core dump, neither as a file nor to a program that collects them. As a consequence, only root
/// can attach a debugger to it.
pub fn disable() {
    if let Err(error) = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0) {
        tracing::debug!(%error, "can't set the limit of core dumps");
    }
    // The limit does not hold for programs that collect dumps, such as systemd-coredump.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::debug!(%error, "can't forbid core dumps");
    }
}
