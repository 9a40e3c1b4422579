//! Writes the cloud's resources as the elements that EC2's clients expect, one module per kind of resource.

mod instance;
mod interface;
mod network;
mod routing;

pub(crate) use routing::association_state;

use freeboard_vpc::{GroupIdentifier, Page, Tag, TagDescription};

use crate::xml::{Encode, Xml};

/// Writes one page of a Describe answer: the list under `name`, and `nextToken` when there may be more.
pub(crate) fn page<T: Encode>(xml: &mut Xml, name: &str, page: &Page<T>) {
    xml.values(name, &page.items);
    xml.optional("nextToken", page.next_token.as_deref());
}

/// Writes the tags of a resource.
fn tags(xml: &mut Xml, tags: &[Tag]) {
    xml.values("tagSet", tags);
}

impl Encode for Tag {
    fn encode(&self, xml: &mut Xml) {
        xml.text("key", &self.key);
        xml.text("value", &self.value);
    }
}

impl Encode for TagDescription {
    fn encode(&self, xml: &mut Xml) {
        xml.text("resourceId", &self.resource_id);
        xml.text("resourceType", &self.resource_type);
        xml.text("key", &self.key);
        xml.text("value", &self.value);
    }
}

impl Encode for GroupIdentifier {
    fn encode(&self, xml: &mut Xml) {
        xml.text("groupId", &self.group_id);
        xml.text("groupName", &self.group_name);
    }
}
