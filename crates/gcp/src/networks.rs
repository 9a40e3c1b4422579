//! Networks: made empty, removed empty.

use jiff::Timestamp;

use crate::cloud::{Change, GoogleCloud};
use crate::error::{ApiError, Status};
use crate::ids::{NetworkName, check_name};
use crate::model::Network;
use crate::operations::{Operation, Scope};

impl GoogleCloud {
    /// Makes a network in custom mode, which has no subnetworks yet.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for the name, [`Status::AlreadyExists`].
    pub fn insert_network(&mut self, name: NetworkName, now: Timestamp) -> Result<Operation, ApiError> {
        check_name("resource.name", name.as_str())?;
        let path = self.network_path(&name);
        if self.networks.contains_key(&name) {
            return Err(ApiError::already_exists(&path));
        }
        let id = self.next_id();
        self.networks.insert(name.clone(), Network { name, id, created: now });
        let change = Change { scope: Scope::Global, operation_type: "insert", target: path, target_id: id };
        Ok(self.record(change, self.timing.compute_operation(), None, now))
    }

    /// Removes a network that has no subnetworks.
    ///
    /// # Errors
    /// [`Status::NotFound`], [`Status::ResourceInUse`].
    pub fn delete_network(&mut self, name: &NetworkName, now: Timestamp) -> Result<Operation, ApiError> {
        let (id, path) = (self.network(name)?.id, self.network_path(name));
        if let Some(subnetwork) = self.subnetworks.values().find(|subnetwork| subnetwork.network == *name) {
            let user = subnetwork.key.path(&self.project);
            return Err(ApiError::new(
                Status::ResourceInUse,
                format!("The network resource '{path}' is already being used by '{user}'"),
            ));
        }
        self.networks.remove(name);
        let change = Change { scope: Scope::Global, operation_type: "delete", target: path, target_id: id };
        Ok(self.record(change, self.timing.compute_operation(), None, now))
    }

    /// The path of a network.
    #[must_use]
    pub fn network_path(&self, name: &NetworkName) -> String {
        format!("projects/{}/global/networks/{name}", self.project)
    }
}
