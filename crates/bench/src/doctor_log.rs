//! A large log of the Amazon VPC CNI's agent at its usual level, of a node whose subnet is full: most of it is the noise of every
//! few seconds, and among it stand refusals, as they do in the logs that people bring.

use std::io::{self, Write};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

/// What the log holds, to be compared with what is found in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes in all.
    pub bytes: u64,
    /// Lines in all.
    pub lines: u64,
    /// Lines in which EC2 refuses addresses because the subnet is full.
    pub refusals: u64,
}

/// Writes at least so many bytes of a log, the same for the same seed.
///
/// # Errors
/// Those of the output.
pub fn write(output: &mut impl Write, bytes: u64, seed: u64) -> io::Result<Written> {
    let mut log = Log {
        output,
        random: Rng::with_seed(seed),
        now: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(480_000),
        written: Written::default(),
    };
    log.start()?;
    while log.written.bytes < bytes {
        log.tick()?;
    }
    Ok(log.written)
}

struct Log<'a, W> {
    output: &'a mut W,
    random: Rng,
    now: Timestamp,
    written: Written,
}

impl<W: Write> Log<'_, W> {
    fn line(&mut self, level: &str, caller: &str, message: &str) -> io::Result<()> {
        self.now += SignedDuration::from_millis(self.random.i64(0..20));
        let line = format!(
            "{{\"level\":\"{level}\",\"ts\":\"{:.3}\",\"caller\":\"{caller}\",\"msg\":\"{message}\"}}\n",
            self.now
        );
        self.written.bytes += u64::try_from(line.len()).unwrap_or(0);
        self.written.lines += 1;
        self.output.write_all(line.as_bytes())
    }

    fn start(&mut self) -> io::Result<()> {
        self.line("info", "aws-k8s-agent/main.go:50", "Starting L-IPAMD   ...")?;
        for found in [
            "Found availability zone: ap-southeast-2a ",
            "Discovered the instance primary IPv4 address: 10.0.208.27",
            "Found instance-id: i-0a31c7d5e9f208b46 ",
            "Found instance-type: m5.large ",
            "Found subnet-id: subnet-0cd55c38980375d58 ",
            "Found vpc-id: vpc-0f3a9ca141c0acd04 ",
        ] {
            self.line("debug", "awsutils/awsutils.go:600", found)?;
        }
        Ok(())
    }

    /// Five seconds of a node's life.
    fn tick(&mut self) -> io::Result<()> {
        self.now += SignedDuration::from_secs(5);
        self.pool()?;
        match self.random.u8(0..10) {
            // A sandbox is tried again, and there is nothing for it.
            0..=1 => self.refused_pod()?,
            2..=3 => self.pod()?,
            4 => self.growth()?,
            _ => {}
        }
        if self.random.u8(0..12) == 0 {
            self.reconcile()?;
        }
        Ok(())
    }

    fn pool(&mut self) -> io::Result<()> {
        let counts = "IP stats for Network Card 0 - total IPs: 27, assigned IPs: 27, cooldown IPs: 0";
        self.line("debug", "ipamd/ipamd.go:811", counts)?;
        self.line(
            "debug",
            "ipamd/ipamd.go:766",
            "Current warm IP stats : target: 0, total: 27, available: 0, short: 1, over 0",
        )?;
        self.line(
            "debug",
            "ipamd/ipamd.go:671",
            "IP pool is too low: available (0) < ENI target (1) * addrsPerENI (9)",
        )?;
        self.line(
            "debug",
            "datastore/data_store.go:1102",
            "ENI eni-0031c7d5e9f208b46 is the primary interface and stays attached",
        )?;
        self.line(
            "debug",
            "ipamd/ipamd.go:2204",
            "hasRoomForEni: ENI count 3 is at the limit of 3 for this node, trunk 0",
        )?;
        self.line("debug", "ipamd/ipamd.go:721", "Skipping ENI allocation as the max ENI limit is already reached")
    }

    fn sandbox(&mut self) -> String {
        format!(
            "{:016x}{:016x}{:016x}{:016x}",
            self.random.u64(..),
            self.random.u64(..),
            self.random.u64(..),
            self.random.u64(..)
        )
    }

    fn request(&mut self, sandbox: &str, pod: u32) -> io::Result<()> {
        let space = format!("/var/run/netns/cni-{:08x}-{:04x}", self.random.u32(..), self.random.u16(..));
        self.line(
            "info",
            "rpc/rpc.pb.go:881",
            &format!("Received AddNetwork for NS {space}, Sandbox {sandbox}, ifname eth0"),
        )?;
        self.line(
            "debug",
            "rpc/rpc.pb.go:881",
            &format!(
                "AddNetworkRequest: K8S_POD_NAME:\\\"web-{pod}\\\" K8S_POD_NAMESPACE:\\\"shop\\\" \
                 K8S_POD_INFRA_CONTAINER_ID:\\\"{sandbox}\\\" ContainerID:\\\"{sandbox}\\\" IfName:\\\"eth0\\\" \
                 NetworkName:\\\"aws-cni\\\" Netns:\\\"{space}\\\""
            ),
        )?;
        self.line(
            "debug",
            "ipamd/rpc_handler.go:256",
            &format!("AssignPodIPv4Address: looking for an address for sandbox aws-cni/{sandbox}/eth0"),
        )
    }

    fn pod(&mut self) -> io::Result<()> {
        let (sandbox, pod, last) = (self.sandbox(), self.random.u32(1..400), self.random.u8(4..250));
        self.request(&sandbox, pod)?;
        self.line(
            "info",
            "ipamd/rpc_handler.go:256",
            &format!("AssignPodIPv4Address: IP 10.0.208.{last} goes to sandbox aws-cni/{sandbox}/eth0"),
        )?;
        self.line(
            "debug",
            "ipamd/rpc_handler.go:298",
            &format!("Send AddNetworkReply: Success: true IPv4Addr: 10.0.208.{last}, IPv6Addr: , DeviceNumber: 1"),
        )?;
        self.line(
            "info",
            "rpc/rpc.pb.go:899",
            &format!("Received DelNetwork for Sandbox {sandbox}, reason PodDeleted"),
        )?;
        self.line(
            "info",
            "datastore/data_store.go:1201",
            &format!(
                "Unassigned IP 10.0.208.{last} of sandbox aws-cni/{sandbox}/eth0, entering cooldown period of 30s"
            ),
        )
    }

    fn refused_pod(&mut self) -> io::Result<()> {
        let (sandbox, pod) = (self.sandbox(), self.random.u32(1..400));
        self.request(&sandbox, pod)?;
        for address in 0..9 {
            self.line(
                "debug",
                "datastore/data_store.go:701",
                &format!(
                    "Unable to get IP address from CIDR: no free IP available in the prefix - 10.0.208.{}/ffffffff",
                    30 + address
                ),
            )?;
        }
        self.line("error", "datastore/data_store.go:607", "DataStore has no available IP/Prefix addresses")?;
        self.line(
            "info",
            "ipamd/rpc_handler.go:298",
            "Send AddNetworkReply: Success: false IPv4Addr: , IPv6Addr: , DeviceNumber: -1",
        )
    }

    fn growth(&mut self) -> io::Result<()> {
        self.written.refusals += 1;
        self.line("debug", "ipamd/ipamd.go:731", "Starting to increase pool size for network card 0")?;
        self.line("info", "ipamd/ipamd.go:978", "Trying to allocate 9 IP addresses on ENI eni-0031c7d5e9f208b46")?;
        let request = format!(
            "{:08x}-{:04x}-4{:03x}-9{:03x}-{:012x}",
            self.random.u32(..),
            self.random.u16(..),
            self.random.u16(..0xfff),
            self.random.u16(..0xfff),
            self.random.u64(..0xffff_ffff_ffff)
        );
        self.line(
            "error",
            "awsutils/awsutils.go:1727",
            &format!(
                "Failed to allocate a private IP/Prefix addresses on ENI eni-0031c7d5e9f208b46: operation error EC2: \
                 AssignPrivateIpAddresses, https response error StatusCode: 400, RequestID: {request}, api error \
                 InsufficientFreeAddressesInSubnet: The specified subnet does not have enough free addresses to satisfy the request."
            ),
        )?;
        self.line(
            "error",
            "ipamd/ipamd.go:731",
            "Unable to attach IPs/Prefixes for the ENI, subnet doesn't seem to have enough IPs/Prefixes. Consider using new subnet or carve a reserved range using create-subnet-cidr-reservation",
        )
    }

    fn reconcile(&mut self) -> io::Result<()> {
        self.line(
            "debug",
            "ipamd/ipamd.go:1241",
            "Reconciling ENI/IP pool info because time since last 1m0.4s > 1m0s",
        )?;
        self.line("debug", "ipamd/ipamd.go:1260", "Total number of interfaces found: 3 ")?;
        for interface in 0..3 {
            self.line(
                "debug",
                "awsutils/awsutils.go:686",
                &format!("Found ENI MAC address: 02:00:00:00:00:0{interface}"),
            )?;
            self.line(
                "debug",
                "ipamd/ipamd.go:1291",
                &format!("Reconcile existing ENI eni-0{interface}31c7d5e9f208b46 IP pool"),
            )?;
        }
        self.line("debug", "ipamd/ipamd.go:1316", "Successfully Reconciled ENI/IP pool")
    }
}

#[cfg(test)]
mod tests {
    use super::write;

    #[test]
    fn the_log_is_the_same_for_the_same_seed_and_holds_what_it_says() {
        let log = |seed| {
            let mut bytes = Vec::new();
            let written = write(&mut bytes, 100_000, seed).unwrap();
            (String::from_utf8(bytes).unwrap(), written)
        };
        let (text, written) = log(1);
        assert_eq!(text, log(1).0);
        assert_eq!(text.len(), usize::try_from(written.bytes).unwrap());
        let refusals = text.matches("InsufficientFreeAddressesInSubnet").count();
        assert_eq!(
            (text.lines().count(), refusals),
            (usize::try_from(written.lines).unwrap(), usize::try_from(written.refusals).unwrap())
        );
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }
}
