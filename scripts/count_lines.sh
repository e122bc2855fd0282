#!/bin/sh
# Counts the lines of Rust outside tests, by crate. Comments and blank lines count. Not counted are the folders tests,
# benches and examples, the files tests.rs and *_tests.rs, and the `#[cfg(test)] mod … {` that ends a file; fuzz/ and
# peers/ are packages of their own.
set -eu
cd "$(dirname "$0")/.."

git ls-files 'crates/*.rs' 'xtask/*.rs' |
    grep -vE '/(tests|benches|examples)/|/([^/]*_)?tests\.rs$|/test_[^/]*\.rs$' |
    xargs awk '
        FNR == 1 { split(FILENAME, part, "/"); name = part[1] == "crates" ? part[2] : part[1]; in_tests = 0; after = "" }
        after == "#[cfg(test)]" && /^mod [a-z_]+ \{/ { in_tests = 1; lines[name]--; sum-- }
        !in_tests { lines[name]++; sum++ }
        { after = $0 }
        END {
            for (name in lines) printf "%-16s%7d\n", name, lines[name] | "sort"
            close("sort")
            printf "%-16s%7d\n", "all", sum
        }'
