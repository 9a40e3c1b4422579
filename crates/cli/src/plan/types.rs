//! Max-pods of every instance type, by the rules of EKS.

use std::process::ExitCode;

use anyhow::{Result, bail};
use freeboard_capacity::TypeLimits;
use serde_json::json;

use crate::input::{Output, print_value, type_table};

/// The ways of giving addresses: with prefixes, with custom networking.
const MODES: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// Prints the types whose name contains `part`.
pub(super) fn run(part: &str, output: Output) -> Result<ExitCode> {
    let table = type_table();
    let rows: Vec<(&String, &TypeLimits)> = table.iter().filter(|(name, _)| name.contains(part)).collect();
    if rows.is_empty() {
        bail!("no instance type of {} has {part:?} in its name", table.len());
    }
    if !output.is_text() {
        let row = |(name, limits): &(&String, &TypeLimits)| {
            let [addresses, custom, prefixes, both] = MODES.map(|(prefixes, custom)| limits.max_pods(prefixes, custom));
            json!({
                "instance_type": name,
                "limits": limits,
                "max_pods": { "addresses": addresses, "custom_networking": custom, "prefixes": prefixes,
                              "prefixes_and_custom_networking": both },
            })
        };
        print_value(&rows.iter().map(row).collect::<Vec<_>>(), output)?;
        return Ok(ExitCode::SUCCESS);
    }
    anstream::println!("MAX-PODS                  INTERFACES ×  SINGLE ADDRESSES      PREFIXES");
    anstream::println!("TYPE                  CPU   ADDRESSES  USUAL CUSTOM NETW.  USUAL CUSTOM NETW.");
    for (name, limits) in rows {
        let [addresses, custom, prefixes, both] = MODES.map(|(prefixes, custom)| {
            limits.max_pods(prefixes, custom).map_or_else(|| "–".to_owned(), |pods| pods.to_string())
        });
        let processors = limits.processors.map_or_else(|| "–".to_owned(), |processors| processors.to_string());
        anstream::println!(
            "{name:<20} {processors:>4}  {:>4} × {:<4}  {addresses:>5} {custom:>12}  {prefixes:>5} {both:>12}",
            limits.interfaces,
            limits.addresses_per_interface
        );
    }
    Ok(ExitCode::SUCCESS)
}
