//! Subnet CIDR reservations.

use freeboard_address::{ReservationId, SubnetId};
use jiff::Timestamp;

use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::model::SubnetCidrReservation;
use crate::request::{CreateSubnetCidrReservation, DeleteSubnetCidrReservation};
use crate::subnet_space::ReservedPart;

impl Cloud {
    /// CreateSubnetCidrReservation: keeps a part of a subnet; addresses already in use there stay.
    ///
    /// # Errors
    /// `InvalidParameterValue` (outside the subnet, overlap), `InvalidSubnetID.NotFound`.
    pub fn create_subnet_cidr_reservation(
        &mut self,
        request: &CreateSubnetCidrReservation,
        now: Timestamp,
    ) -> Result<SubnetCidrReservation, ApiError> {
        self.handle_timeout(now);
        self.check_reservation(&request.subnet_id, request.cidr)?;
        let tags = self.tags_for(&request.tag_specifications, &["subnet-cidr-reservation"])?;
        let reservation = SubnetCidrReservation {
            subnet_cidr_reservation_id: ReservationId::new(self.ids.next("scr")),
            subnet_id: request.subnet_id.clone(),
            cidr: request.cidr,
            reservation_type: request.reservation_type,
            owner_id: self.account_id.clone(),
            description: request.description.clone(),
            tags,
        };
        self.add_reservation(reservation.clone());
        Ok(reservation)
    }

    /// DeleteSubnetCidrReservation: what was assigned from it stays assigned.
    ///
    /// # Errors
    /// `InvalidSubnetCidrReservationID.NotFound`.
    pub fn delete_subnet_cidr_reservation(
        &mut self,
        request: &DeleteSubnetCidrReservation,
        now: Timestamp,
    ) -> Result<SubnetCidrReservation, ApiError> {
        self.handle_timeout(now);
        let id = &request.subnet_cidr_reservation_id;
        for record in self.subnets.values_mut() {
            let place = record.reservations.iter().position(|has| has.subnet_cidr_reservation_id == *id);
            if let Some(place) = place {
                record.space.unreserve(id);
                return Ok(record.reservations.remove(place));
            }
        }
        let text = format!("The subnet CIDR reservation ID '{id}' does not exist");
        Err(ApiError::new("InvalidSubnetCidrReservationID.NotFound", text))
    }

    pub(crate) fn check_reservation(&self, subnet: &SubnetId, cidr: freeboard_address::Cidr) -> Result<(), ApiError> {
        let record = self.subnet(subnet)?;
        let block = record.subnet.cidr_block;
        if !block.contains_block(cidr) {
            let text = format!("Reservation CIDR should be within subnet CIDR block ({block})");
            return Err(ApiError::invalid_parameter(text));
        }
        if record.reservations.iter().any(|other| other.cidr.overlaps(cidr)) {
            let text = format!("Reservation CIDR {cidr} has overlap with existing reserved CIDR block");
            return Err(ApiError::invalid_parameter(text));
        }
        Ok(())
    }

    pub(crate) fn add_reservation(&mut self, reservation: SubnetCidrReservation) {
        if let Some(record) = self.subnets.get_mut(&reservation.subnet_id) {
            record.space.reserve(ReservedPart {
                id: reservation.subnet_cidr_reservation_id.clone(),
                cidr: reservation.cidr,
                kind: reservation.reservation_type,
            });
            record.reservations.push(reservation);
        }
    }
}
