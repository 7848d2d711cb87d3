#!/bin/sh
# RUSTC_WRAPPER: compile what reads bytes from elsewhere with the coverage that libFuzzer steers by, and all other crates
# as ever. Every flag is one of the stable compiler. Cargo.toml gives the same crates a profile of their own.
case "$CARGO_CRATE_NAME:$CARGO_PKG_NAME" in
build_script_*) exec "$@" ;;
*:fastft-fuzz | *:fastft-pipeline | *:fastft-record | *:fastft-source | *:fastft-template | *:fastft-text | \
    *:minijinja | *:minijinja-contrib)
    exec "$@" --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$@"
