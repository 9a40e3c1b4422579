//! Tags.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Done, PAGE_SIZE, page};
use crate::action::Action;
use crate::client::{Ec2Client, Operation};
use crate::error::Ec2Error;
use crate::query::{Filter, Parameters};

/// Sets tags on objects; an existing tag of the same key is overwritten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateTags {
    /// The ids of the objects, of any kind.
    pub resources: Vec<String>,
    /// The tags.
    pub tags: BTreeMap<String, String>,
}

impl Operation for CreateTags {
    const ACTION: Action = Action::CreateTags;
    type Answer = Done;

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        parameters.list("ResourceId", &self.resources);
        parameters.tags("", &self.tags);
        parameters
    }
}

/// A tag of an object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceTag {
    /// The object's id.
    pub resource_id: String,
    /// The object's kind, for example `network-interface`.
    #[serde(default)]
    pub resource_type: String,
    /// The key.
    pub key: String,
    /// The value.
    #[serde(default)]
    pub value: String,
}

/// Lists tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeTags {
    /// Only those that pass.
    pub filters: Vec<Filter>,
}

page!(DescribeTagsAnswer, "tagSet", ResourceTag);

impl Operation for DescribeTags {
    const ACTION: Action = Action::DescribeTags;
    type Answer = DescribeTagsAnswer;

    fn parameters(&self) -> Parameters {
        Parameters::describe("", &[] as &[String], &self.filters, Some(PAGE_SIZE))
    }
}

impl Ec2Client {
    /// Sets tags on objects.
    ///
    /// # Errors
    /// Any [`Ec2Error`].
    pub async fn create_tags(&self, request: &CreateTags) -> Result<(), Ec2Error> {
        self.call(request).await.map(|Done {}| ())
    }

    /// Lists tags.
    ///
    /// # Errors
    /// Any [`Ec2Error`].
    pub async fn describe_tags(&self, request: &DescribeTags) -> Result<Vec<ResourceTag>, Ec2Error> {
        self.pages(request).await
    }
}
