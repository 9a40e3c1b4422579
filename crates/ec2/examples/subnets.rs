//! Lists the subnets that the caller can see, by the environment's credentials and endpoint.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use freeboard_ec2::{DescribeSubnets, Ec2Client, Ec2Config};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match list(&mut io::stdout().lock()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // When even this cannot be written, the exit code still tells.
            writeln!(io::stderr(), "error: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn list(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let client = Ec2Client::new(Ec2Config::from_environment().await?)?;
    for subnet in client.describe_subnets(&DescribeSubnets::default()).await? {
        writeln!(out, "{} {} {} {} free", subnet.id, subnet.cidr, subnet.zone, subnet.available_addresses)?;
    }
    Ok(())
}
