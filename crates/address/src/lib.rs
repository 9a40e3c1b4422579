//! Values that every floor shares: IPv4 blocks, the free-space index, typed ids and quantities.
//!
//! Nothing here does I/O or reads a clock; every type is ordered, so that collections of them iterate the same way in every run.

mod aligned_space;
mod association;
mod block_size;
mod cidr;
mod free_space;
mod id;
mod mac;
mod number_set;
mod quantity;

pub use aligned_space::{AlignedSpace, FreeLengths};
pub use association::{AssociationRefusal, check_association, check_vpc_block};
pub use block_size::{AddressesPerPod, BlockLengthRefused, BlockSize, PodBits};
pub use cidr::{Cidr, CidrError};
pub use free_space::FreeSpace;
pub use id::{
    AssociationId, AttachmentId, AttachmentKey, EniId, InstanceId, NodeName, NodePoolName, NodeUid, PodKey, RangeName,
    ReservationId, RouteTableId, SecurityGroupId, SubnetId, VpcId,
};
pub use mac::{MacAddress, MacAddressError};
pub use quantity::{Addresses, Prefixes};
