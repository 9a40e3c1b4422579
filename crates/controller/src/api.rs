//! The engine's operations on the API, carried out; and what an answer means.

use freeboard_address::{Cidr, NodeName, NodeUid};
use freeboard_blocks::{Answer, ApiOperation};
use freeboard_kubernetes::client::sentence;
use freeboard_kubernetes::kube::api::{Patch, PatchParams};
use freeboard_kubernetes::kube::{self, Api, Client};
use freeboard_kubernetes::lean_node::LeanNode;

use crate::input::observed;

/// Carries out one operation.
pub(crate) async fn carry_out(client: Client, operation: ApiOperation) -> Answer {
    let api: Api<LeanNode> = Api::all(client);
    match operation {
        ApiOperation::SetPodCidrs { node, uid, cidr } => set_pod_cidrs(&api, &node, &uid, cidr).await,
        ApiOperation::ReadNode { node } => match api.get_opt(node.as_str()).await {
            Ok(Some(found)) => observed(found).map_or_else(
                || Answer::Failed(format!("node {node} has no name, uid or version")),
                |seen| Answer::Node(seen.node),
            ),
            Ok(None) => Answer::NotFound,
            Err(error) => Answer::Failed(sentence(&error)),
        },
    }
}

/// The uid in the patch is a precondition: the API lets no object's uid change, and refuses the patch when it differs.
async fn set_pod_cidrs(api: &Api<LeanNode>, node: &NodeName, uid: &NodeUid, cidr: Cidr) -> Answer {
    let patch = serde_json::json!({
        "metadata": {"uid": uid.as_str()},
        "spec": {"podCIDR": cidr.to_string(), "podCIDRs": [cidr.to_string()]},
    });
    match api.patch(node.as_str(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Answer::Written,
        Err(error) => meaning(&error),
    }
}

/// What a failed write means. Only the API server's own refusal is a proof that nothing was written.
fn meaning(error: &kube::Error) -> Answer {
    if let kube::Error::Api(status) = error {
        return match status.code {
            404 => Answer::NotFound,
            // The uid differs, the node changed in the meantime, or it has another block already, which is final.
            409 | 422 => Answer::Conflict,
            500.. => Answer::Uncertain,
            _ => Answer::Failed(sentence(error)),
        };
    }
    Answer::Uncertain
}

#[cfg(test)]
mod tests {
    use freeboard_kubernetes::kube::core::Status;

    use super::*;

    fn refused(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, message: "no".to_owned(), ..Status::default() }))
    }

    #[test]
    fn only_a_refusal_proves_that_nothing_was_written() {
        assert_eq!(meaning(&refused(404)), Answer::NotFound);
        assert_eq!(meaning(&refused(409)), Answer::Conflict);
        assert_eq!(meaning(&refused(422)), Answer::Conflict);
        assert_eq!(meaning(&refused(429)), Answer::Failed("no".to_owned()));
        for code in [500, 503, 504] {
            assert_eq!(meaning(&refused(code)), Answer::Uncertain, "{code}");
        }
        assert_eq!(meaning(&kube::Error::LinesCodecMaxLineLengthExceeded), Answer::Uncertain);
    }
}
