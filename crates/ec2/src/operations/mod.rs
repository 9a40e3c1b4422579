//! The actions, grouped by what they act on: requests and answers as plain structures, one client method each.

mod instance;
mod interface;
mod route;
#[cfg(test)]
mod samples;
mod subnet;
mod tag;
mod vpc;

pub use instance::*;
pub use interface::*;
pub use route::*;
pub use subnet::*;
pub use tag::*;
pub use vpc::*;

use serde::Deserialize;

/// Objects that a describe call lists, as all but one action page them: 1,000 a page is the most that EC2 allows (cloud-rules A.4).
const PAGE_SIZE: u32 = 1000;
/// The most that `DescribeRouteTables` and `DescribeInstanceTypes` allow.
const SMALL_PAGE_SIZE: u32 = 100;

/// The answer of an action that says no more than that it was done.
#[derive(Debug, Deserialize)]
pub(crate) struct Done {}

/// Declares the answer of a paged action: the set's element name and its items.
macro_rules! page {
    ($name:ident, $set:literal, $item:ty) => {
        #[derive(Debug, serde::Deserialize)]
        pub(crate) struct $name {
            #[serde(rename = $set, default, deserialize_with = "crate::xml::items")]
            items: Vec<$item>,
            #[serde(rename = "nextToken", default, deserialize_with = "crate::xml::non_empty")]
            next_token: Option<String>,
        }

        impl crate::client::Page for $name {
            type Item = $item;

            fn split(self) -> (Vec<$item>, Option<String>) {
                (self.items, self.next_token)
            }
        }
    };
}
use page;
