# The common commands: https://just.systems. `just` alone lists them.

_default:
    @just --list

# Runs a server on 127.0.0.1:8420.
serve *args:
    cargo run --release -- serve {{args}}

# Shows three locations that replicate.
demo:
    cargo run --release -- demo

# Runs the tests of one crate: `just test waypost-core`.
test crate *args:
    cargo test -p {{crate}} {{args}}

# Formats, and runs clippy.
lint:
    cargo fmt --all
    cargo clippy --locked --workspace --all-targets -- -D warnings

# Runs everything that a change must pass.
ci:
    .ci/run

# Replays a seed of the simulator of several locations.
sim seed:
    WAYPOST_SEED={{seed}} cargo test -p waypost-sim-tests --test seeds -- --nocapture mixed

# Replays a seed of the failing disk.
disk seed:
    WAYPOST_SEED={{seed}} cargo test -p waypost-disk-tests --test seeds -- --nocapture

# Runs fuzz targets: `just fuzz 600 kv_rows`.
fuzz *args:
    .ci/fuzz {{args}}

# Runs mutants: `just mutants keep_old_dot`.
mutants *args:
    .ci/mutants {{args}}

# Prints circles in the imports, long functions and other figures.
metrics:
    cargo run -q -p waypost-structure-tests --example metrics -- --list

# Builds and opens the documentation.
doc:
    cargo doc --workspace --no-deps --open
