//! Licences and origins: ours is stated, others' are compatible with it, and everything comes from the registry.

use super::Findings;
use super::metadata::Metadata;

/// Our licence.
const OURS: &str = "Apache-2.0";

/// Licences of others that may be linked into an Apache-2.0 program.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Checks every package of the graph.
pub(crate) fn check(metadata: &Metadata) -> Findings {
    let mut findings = Findings::new();
    for package in &metadata.packages {
        let named = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref();
        match &package.source {
            None if licence != Some(OURS) => {
                findings.push(format!("{named} is ours and does not say `license = {OURS:?}`"))
            }
            Some(source) if !source.starts_with("registry+") => {
                findings.push(format!("{named} comes from {source}: only the registry is allowed"));
            }
            Some(_) if !licence.is_some_and(is_allowed) => {
                findings.push(format!(
                    "{named} is under {licence:?}: either the list in xtask/src/check/licences.rs lacks it or we cannot use it"
                ));
            }
            _ => {}
        }
    }
    findings
}

/// Whether an SPDX expression can be satisfied from the allowed list. `/` is the old way to write `OR`.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut position = 0;
    let allowed = any_of(&tokens, &mut position);
    allowed && position == tokens.len() && !matches!(tokens.last(), Some(&("OR" | "AND")))
}

fn any_of(tokens: &[&str], position: &mut usize) -> bool {
    let mut allowed = all_of(tokens, position);
    while tokens.get(*position) == Some(&"OR") {
        *position += 1;
        allowed |= all_of(tokens, position);
    }
    allowed
}

fn all_of(tokens: &[&str], position: &mut usize) -> bool {
    let mut allowed = one(tokens, position);
    while tokens.get(*position) == Some(&"AND") {
        *position += 1;
        allowed &= one(tokens, position);
    }
    allowed
}

fn one(tokens: &[&str], position: &mut usize) -> bool {
    let Some(token) = tokens.get(*position) else { return false };
    *position += 1;
    if *token == "(" {
        let allowed = any_of(tokens, position);
        let is_closed = tokens.get(*position) == Some(&")");
        *position += 1;
        return allowed && is_closed;
    }
    if tokens.get(*position) == Some(&"WITH") {
        // An exception only adds permissions.
        *position += 2;
    }
    ALLOWED.contains(token)
}

#[cfg(test)]
mod unit {
    use super::is_allowed;

    #[test]
    fn expressions_are_read_by_their_grammar() {
        for allowed in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
        ] {
            assert!(is_allowed(allowed), "{allowed}");
        }
        for refused in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "(MIT",
            "MIT OR",
            "MIT MIT",
            "",
            "(GPL-2.0-only OR SSPL-1.0) AND MIT",
        ] {
            assert!(!is_allowed(refused), "{refused}");
        }
    }
}
