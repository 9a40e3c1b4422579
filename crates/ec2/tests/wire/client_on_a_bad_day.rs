//! The EC2 client against a scripted server: lost answers, refusals, time-outs, paging, budgets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::server::{Server, Step};
use freeboard_address::{Addresses, EniId, SubnetId};
use freeboard_ec2::*;

const VPCS: &str = "<DescribeVpcsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r</requestId>\
                    <vpcSet/></DescribeVpcsResponse>";

fn refusal(status: u16, code: &str, message: &str) -> Step {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Errors><Error><Code>{code}</Code><Message>{message}</Message>\
         </Error></Errors><RequestID>r-1</RequestID></Response>"
    );
    Step::Answer(status, body)
}

fn answer(body: &str) -> Step {
    Step::Answer(200, body.to_owned())
}

fn config(url: &str) -> Ec2Config {
    let mut config = Ec2Config::for_endpoint("ap-southeast-2", url, "AKIDEXAMPLE", "secret");
    config.retry =
        RetryPolicy { max_attempts: 3, base_pause: Duration::from_millis(1), max_pause: Duration::from_millis(2) };
    config
}

fn client(server: &Server) -> Ec2Client {
    Ec2Client::new(config(&server.url)).unwrap()
}

fn assign_five() -> AssignPrivateIpAddresses {
    AssignPrivateIpAddresses {
        interface: EniId::new("eni-1"),
        take: Take::Addresses(Addresses(5)),
        allow_reassignment: false,
    }
}

fn created(server_token: &str) -> Step {
    answer(&format!(
        "<CreateNetworkInterfaceResponse><networkInterface><networkInterfaceId>eni-1</networkInterfaceId>\
         <subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId><status>pending</status><macAddress>02:00:00:00:00:01</macAddress>\
         <privateIpAddress>10.0.0.4</privateIpAddress></networkInterface><clientToken>{server_token}</clientToken>\
         </CreateNetworkInterfaceResponse>"
    ))
}

#[tokio::test]
async fn a_request_is_a_signed_form_and_connections_are_reused() {
    let server = Server::start(|_, _| answer(VPCS)).await;
    let client = client(&server);
    for _ in 0..3 {
        assert_eq!(client.describe_vpcs(&DescribeVpcs::default()).await.unwrap(), []);
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| request.connection == 0));
    assert_eq!(requests[0].body, "Action=DescribeVpcs&Version=2016-11-15&MaxResults=1000");
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("POST", "/"));
    assert!(requests[0].headers["authorization"].starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"));
    assert_eq!(requests[0].headers["content-type"], "application/x-www-form-urlencoded; charset=utf-8");
    assert_eq!(format!("http://{}", requests[0].headers["host"]), server.url);
}

#[tokio::test]
async fn paging_goes_on_after_an_empty_page() {
    let page = |ids: &[&str], token: &str| {
        let items: String = ids
            .iter()
            .map(|id| format!("<item><vpcId>{id}</vpcId><cidrBlock>10.0.0.0/16</cidrBlock></item>"))
            .collect();
        answer(&format!("<r><vpcSet>{items}</vpcSet>{token}</r>"))
    };
    let server = Server::start(move |_, request| match request.parameter("NextToken").as_deref() {
        None => page(&["vpc-1"], "<nextToken>a</nextToken>"),
        Some("a") => page(&[], "<nextToken>b</nextToken>"),
        _ => page(&["vpc-2"], "<nextToken/>"),
    })
    .await;
    let vpcs = client(&server).describe_vpcs(&DescribeVpcs::default()).await.unwrap();
    let ids: Vec<&str> = vpcs.iter().map(|vpc| vpc.id.as_str()).collect();
    assert_eq!(ids, ["vpc-1", "vpc-2"]);
}

#[tokio::test]
async fn pages_that_repeat_themselves_end_in_an_error() {
    let server = Server::start(|_, _| answer("<r><vpcSet/><nextToken>same</nextToken></r>")).await;
    let error = client(&server).describe_vpcs(&DescribeVpcs::default()).await.unwrap_err();
    assert!(error.to_string().contains("the same next token came twice"), "{error}");
}

#[tokio::test]
async fn a_read_is_repeated_after_lost_and_half_answers() {
    let server = Server::start(|number, _| match number {
        0 => Step::Drop,
        1 => Step::Half,
        _ => answer(VPCS),
    })
    .await;
    client(&server).describe_vpcs(&DescribeVpcs::default()).await.unwrap();
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn an_assignment_whose_answer_is_lost_is_sent_once_and_uncertain() {
    for step in [Step::Drop, Step::Half, refusal(500, "InternalError", "An internal error has occurred")] {
        let scripted = step.clone();
        let server = Server::start(move |_, _| scripted.clone()).await;
        let error = client(&server).assign_private_ip_addresses(&assign_five()).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Uncertain, "{step:?}: {error}");
        assert_eq!((server.requests().len(), error.attempts), (1, 1), "{step:?}");
    }
}

#[tokio::test]
async fn a_silent_server_costs_one_attempt_timeout_and_leaves_the_effect_uncertain() {
    let server = Server::start(|_, _| Step::Silence).await;
    let mut config = config(&server.url);
    config.timeouts.attempt = Duration::from_millis(50);
    let error = Ec2Client::new(config).unwrap().assign_private_ip_addresses(&assign_five()).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Uncertain, "AnswerLost"));
    assert!(error.message.contains("50 ms"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn the_call_timeout_ends_a_call_whatever_the_policy_says() {
    let server = Server::start(|_, _| refusal(503, "Unavailable", "overloaded")).await;
    let mut config = config(&server.url);
    config.retry =
        RetryPolicy { max_attempts: 1000, base_pause: Duration::from_millis(5), max_pause: Duration::from_millis(5) };
    let client = Ec2Client::new(config).unwrap().with_call_timeout(Duration::from_millis(100));
    let error = client.describe_vpcs(&DescribeVpcs::default()).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable, "{error}");
    assert!(error.attempts < 1000);
}

#[tokio::test]
async fn a_throttled_assignment_is_repeated_because_it_did_not_happen() {
    let server = Server::start(|number, _| match number {
        0 => refusal(503, "RequestLimitExceeded", "Request limit exceeded."),
        _ => answer(
            "<AssignPrivateIpAddressesResponse><networkInterfaceId>eni-1</networkInterfaceId>\
             <assignedPrivateIpAddressesSet><item><privateIpAddress>10.0.0.5</privateIpAddress></item>\
             </assignedPrivateIpAddressesSet><return>true</return></AssignPrivateIpAddressesResponse>",
        ),
    })
    .await;
    let assigned = client(&server).assign_private_ip_addresses(&assign_five()).await.unwrap();
    assert_eq!(assigned.addresses, ["10.0.0.5".parse::<std::net::Ipv4Addr>().unwrap()]);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_repeated_create_carries_the_same_client_token() {
    let server = Server::start(|number, _| if number == 0 { Step::Drop } else { created("t") }).await;
    let request = CreateNetworkInterface::new(SubnetId::new("subnet-1"));
    let client = client(&server);
    client.create_network_interface(&request).await.unwrap();
    client.create_network_interface(&request).await.unwrap();
    let tokens: Vec<String> =
        server.requests().iter().map(|request| request.parameter("ClientToken").unwrap()).collect();
    assert_eq!(tokens[0], tokens[1], "the repeated request");
    assert_ne!(tokens[1], tokens[2], "the next call");
    assert!(tokens[0].len() <= 64 && tokens[0].is_ascii());
}

#[tokio::test]
async fn a_delete_that_finds_nothing_after_a_lost_answer_has_done_its_work() {
    let gone = || refusal(400, "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID 'eni-1' does not exist");
    let request = DeleteNetworkInterface { interface: EniId::new("eni-1") };
    let server = Server::start(move |number, _| if number == 0 { Step::Drop } else { gone() }).await;
    client(&server).delete_network_interface(&request).await.unwrap();

    let server = Server::start(move |_, _| gone()).await;
    let error = client(&server).delete_network_interface(&request).await.unwrap_err();
    assert_eq!((error.class, error.attempts), (ErrorClass::NotFound, 1));
}

#[tokio::test]
async fn a_refusal_is_typed_and_not_repeated() {
    let server = Server::start(|_, _| {
        let message = "The specified subnet does not have enough free addresses to satisfy the request.";
        refusal(400, "InsufficientFreeAddressesInSubnet", message)
    })
    .await;
    let error = client(&server).assign_private_ip_addresses(&assign_five()).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::SubnetShort);
    assert_eq!((error.http_status, error.request_id.as_deref()), (Some(400), Some("r-1")));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn no_server_is_unavailable_and_never_uncertain() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Ec2Client::new(config(&url)).unwrap().assign_private_ip_addresses(&assign_five()).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Unavailable, "ConnectionFailed"), "{error}");
    assert_eq!(error.attempts, 3);
    assert!(error.message.contains("Connection refused"), "{error}");
    assert!(!error.message.contains("source:"), "no debugging output in a message: {error}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_leaves_a_change_uncertain_and_a_read_failed() {
    let server = Server::start(|_, _| answer("<html>a captive portal</html>")).await;
    let client = client(&server);
    let error = client.create_network_interface(&CreateNetworkInterface::new(SubnetId::new("s"))).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Uncertain, "UnreadableAnswer"));
    let request = DescribeSubnets::default();
    let server =
        Server::start(|_, _| answer("<r><subnetSet><item><subnetId>s</subnetId></item></subnetSet></r>")).await;
    let error = self::client(&server).describe_subnets(&request).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Other);
    assert!(error.message.contains("missing field"), "{error}");
}

#[tokio::test]
async fn the_client_s_own_budget_refuses_what_would_come_too_late() {
    let server = Server::start(|_, _| answer("<r><return>true</return></r>")).await;
    let mut config = config(&server.url);
    // Of 5 calls at once and 1 per second, a fifth: one call, and the next one after five seconds.
    config.budget_share = Some(0.2);
    let client = Ec2Client::new(config).unwrap().with_call_timeout(Duration::from_secs(1));
    let request = DeleteSubnetCidrReservation { reservation: freeboard_address::ReservationId::new("scr-1") };
    client.delete_subnet_cidr_reservation(&request).await.unwrap();
    let error = client.delete_subnet_cidr_reservation(&request).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Throttled, "ClientBudgetExhausted"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[derive(Debug, Default)]
struct Log(Mutex<Vec<(Action, Option<ErrorClass>)>>);

impl Observer for Log {
    fn call_finished(&self, action: Action, outcome: Result<(), &Ec2Error>, _: Duration) {
        self.0.lock().unwrap().push((action, outcome.err().map(|error| error.class)));
    }
}

#[tokio::test]
async fn an_observer_sees_every_call_with_its_outcome() {
    let server = Server::start(|number, _| match number {
        0 => answer(VPCS),
        _ => refusal(403, "UnauthorizedOperation", "You are not authorized to perform this operation."),
    })
    .await;
    let log = Arc::new(Log::default());
    let mut config = config(&server.url);
    config.observer = Some(log.clone());
    let client = Ec2Client::new(config).unwrap();
    client.describe_vpcs(&DescribeVpcs::default()).await.unwrap();
    client.assign_private_ip_addresses(&assign_five()).await.unwrap_err();
    let seen = log.0.lock().unwrap().clone();
    assert_eq!(
        seen,
        [(Action::DescribeVpcs, None), (Action::AssignPrivateIpAddresses, Some(ErrorClass::NotAuthorized))]
    );
}
