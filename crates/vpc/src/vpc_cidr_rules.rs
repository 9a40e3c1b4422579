//! The refusal of a VPC block in EC2's own words; the rules themselves are values of `freeboard-address`.

use freeboard_address::{AssociationRefusal, Cidr};

use crate::error::ApiError;

/// The refusal as EC2 answers it.
pub(crate) fn block_refused(cidr: Cidr, refusal: AssociationRefusal) -> ApiError {
    let text = if refusal.is_of_the_block_itself() {
        format!("The CIDR '{cidr}' is invalid.")
    } else {
        format!(
            "The CIDR '{cidr}' is restricted. Use a CIDR from the same private address range as the current VPC CIDR, or use \
             a publicly-routable CIDR. For additional restrictions, see \
             https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html"
        )
    };
    ApiError::new("InvalidVpc.Range", text)
}

#[cfg(test)]
mod tests {
    use freeboard_address::{check_association, check_vpc_block};

    use super::*;

    #[test]
    fn the_refusals_have_the_services_texts() {
        let cidr: Cidr = "10.0.0.0/8".parse().unwrap();
        let invalid = block_refused(cidr, check_vpc_block(cidr).unwrap_err());
        assert_eq!(invalid.code, "InvalidVpc.Range");
        assert_eq!(invalid.message, "The CIDR '10.0.0.0/8' is invalid.");
        let (primary, cidr): (Cidr, Cidr) = ("10.0.0.0/16".parse().unwrap(), "192.168.0.0/16".parse().unwrap());
        let restricted = block_refused(cidr, check_association(primary, &[primary], cidr).unwrap_err());
        assert!(restricted.message.starts_with(
            "The CIDR '192.168.0.0/16' is restricted. Use a CIDR from the same private address range as the current VPC \
             CIDR, or use a publicly-routable CIDR. For additional restrictions, see https://docs.aws.amazon.com/"
        ));
    }
}
