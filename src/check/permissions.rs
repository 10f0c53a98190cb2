//! The credentials, whose they are, and what they may do that was not tried: writes are never tried,
//! so IAM's policy simulator is asked about them, where it may be.

use std::collections::HashMap;

use crate::aws::credentials::Provided;
use crate::aws::probe::authority::{Authority, Caller, Decision, Principal};
use crate::check::online::limited;
use crate::check::policy::{For, Need, Policy, Statement};
use crate::check::report::{Outcome, Step};
use crate::ports::{BoxFuture, Clock};

use Outcome::{Failure, NotVerified, Ok as Fine, Warning};

/// Who says that an action is allowed.
const BY_SIMULATOR: &str = "says the policy simulator";
const BY_ROOT: &str =
    "as the credentials are the account's root, whom only an organisation can limit";

/// The credentials of some services.
pub struct Identity {
    /// The services that use them.
    pub services: Vec<For>,
    /// Their names, for the reader.
    pub label: &'static str,
    /// Asks the providers in turn.
    pub provided: BoxFuture<'static, Result<Provided, String>>,
    /// The ways to STS and IAM, or why they are not asked.
    pub authority: Result<Authority, String>,
    /// Whether IAM may be asked, or why not.
    pub simulator: Result<(), String>,
}

/// The credentials of some services, once it is known whose they are.
pub struct Known {
    services: Vec<For>,
    usable: bool,
    authority: Option<Authority>,
    /// `Err` says why it is not known.
    caller: Result<Caller, String>,
    simulator: Result<(), String>,
}

/// What was tried already, so that the simulator need not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// The lease table exists: its reads were tried, and it need not be created.
    pub table_exists: bool,
    /// The index was queried.
    pub index_queried: bool,
    /// DescribeStreamConsumer was tried.
    pub fanout_described: bool,
}

/// Gets the credentials and asks STS whose they are.
pub async fn identify(identities: Vec<Identity>, clock: &dyn Clock) -> (Vec<Step>, Vec<Known>) {
    let (mut steps, mut known) = (Vec::new(), Vec::new());
    for identity in identities {
        let label = identity.label;
        let name = |what: &str| {
            if label.is_empty() {
                what.to_owned()
            } else {
                format!("{what} ({label})")
            }
        };
        let provided = limited(clock, "loading credentials", identity.provided)
            .await
            .unwrap_or_else(Err);
        let usable = provided.is_ok();
        steps.push(match provided {
            Ok(provided) => Step::new(
                name("credentials"),
                Fine,
                match provided.expires_millis {
                    None => format!("from {}", provided.provider),
                    Some(expires) => format!(
                        "from {}, to be renewed in {} min",
                        provided.provider,
                        (expires - clock.wall_millis()) / 60_000
                    ),
                },
            ),
            Err(why) => Step::new(
                name("credentials"),
                Failure,
                format!("there are none: {why}"),
            ),
        });
        let (authority, caller) = match (usable, identity.authority) {
            (false, _) => (None, Err("there are no credentials".to_owned())),
            (true, Err(why)) => (None, Err(why)),
            (true, Ok(authority)) => {
                let caller = limited(clock, "GetCallerIdentity", authority.caller())
                    .await
                    .unwrap_or_else(Err);
                (Some(authority), caller)
            }
        };
        steps.push(match &caller {
            Ok(caller) => Step::new(
                name("identity"),
                Fine,
                format!("{} in account {}", caller.arn, caller.account),
            ),
            Err(why) => Step::new(name("identity"), NotVerified, why.clone()),
        });
        known.push(Known {
            services: identity.services,
            usable,
            authority,
            caller,
            simulator: identity.simulator,
        });
    }
    (steps, known)
}

/// Who calls a service.
#[must_use]
pub fn caller_for(known: &[Known], service: For) -> Option<&Caller> {
    known
        .iter()
        .find(|known| known.services.contains(&service))?
        .caller
        .as_ref()
        .ok()
}

/// Whether a service has no credentials to call it with. The embedded ones need none.
#[must_use]
pub fn lacks_credentials(known: &[Known], service: For) -> bool {
    known
        .iter()
        .any(|known| known.services.contains(&service) && !known.usable)
}

/// The actions of a statement that were not tried.
#[must_use]
pub fn untried(statement: &Statement, tried: &Tried) -> Vec<&'static str> {
    let is_tried = |action: &str| match action {
        "kinesis:DescribeStreamSummary"
        | "kinesis:ListShards"
        | "kinesis:GetShardIterator"
        | "kinesis:GetRecords" => true,
        "kinesis:DescribeStreamConsumer" => tried.fanout_described,
        "dynamodb:DescribeTable" => true,
        "dynamodb:Scan" | "dynamodb:GetItem" => statement.sid == "LeaseTable" && tried.table_exists,
        "dynamodb:CreateTable" => tried.table_exists,
        "dynamodb:Query" => tried.index_queried,
        _ => false,
    };
    statement
        .actions
        .iter()
        .copied()
        .filter(|action| !is_tried(action))
        .collect()
}

/// Asks the simulator about all that was not tried.
pub async fn simulate(
    known: &[Known],
    policy: &Policy,
    tried: &Tried,
    clock: &dyn Clock,
) -> Vec<Step> {
    let mut steps = Vec::new();
    // A simulator that may not be asked, or does not answer, is not asked again.
    let mut given_up: HashMap<For, String> = HashMap::new();
    for statement in &policy.statements {
        // The tables of 3.0 to 3.4 are looked for, never made; the role's own source is not known here.
        if statement.sid == "Kcl30To34Tables" || statement.whose == For::Source {
            continue;
        }
        let actions = untried(statement, tried);
        if actions.is_empty() {
            continue;
        }
        let owner = known
            .iter()
            .find(|known| known.services.contains(&statement.whose));
        let decided = match (given_up.get(&statement.whose), owner) {
            (Some(why), _) => Err(why.clone()),
            (None, Some(owner)) => decide(owner, statement, &actions, clock).await,
            (None, None) => Err("the embedded services know no permissions".to_owned()),
        };
        match decided {
            Ok((by, decisions)) => {
                for action in actions {
                    let decision = decisions
                        .iter()
                        .find(|(name, _)| name.eq_ignore_ascii_case(action))
                        .map(|(_, decision)| decision);
                    steps.push(judged(action, statement, decision, by));
                }
            }
            Err(why) => {
                steps.push(Step::new(
                    actions.join(", "),
                    NotVerified,
                    format!("not tried: {why}"),
                ));
                given_up.insert(statement.whose, why);
            }
        }
    }
    merge(steps)
}

/// Steps that were not verified for the same reason become one.
fn merge(steps: Vec<Step>) -> Vec<Step> {
    let mut merged: Vec<Step> = Vec::new();
    for step in steps {
        let same = merged.iter_mut().find(|earlier| {
            step.outcome == NotVerified
                && earlier.outcome == NotVerified
                && earlier.message == step.message
        });
        match same {
            Some(earlier) => {
                earlier.name.push_str(", ");
                earlier.name.push_str(&step.name);
            }
            None => merged.push(step),
        }
    }
    merged
}

async fn decide(
    owner: &Known,
    statement: &Statement,
    actions: &[&'static str],
    clock: &dyn Clock,
) -> Result<(&'static str, Vec<(String, Decision)>), String> {
    let caller = owner
        .caller
        .as_ref()
        .map_err(|why| format!("whose the credentials are is not known ({why})"))?;
    owner.simulator.clone()?;
    let authority = owner
        .authority
        .as_ref()
        .ok_or("IAM is not asked".to_owned())?;
    let actions: Vec<String> = actions.iter().map(|action| (*action).to_owned()).collect();
    let resource = statement.resources.first().map_or("*", String::as_str);
    let namespace = statement.namespace.as_deref().unwrap_or_default();
    let simulate = |principal: String| {
        let actions = &actions;
        async move {
            let asked = authority.simulate(&principal, actions, resource, namespace);
            limited(clock, "SimulatePrincipalPolicy", asked)
                .await
                .unwrap_or_else(Err)
        }
    };
    let decisions = match caller.principal() {
        // Nobody was asked, and the reader should know.
        Principal::Root => {
            let allowed = |action: &String| (action.clone(), Decision::Allowed);
            return Ok((BY_ROOT, actions.iter().map(allowed).collect()));
        }
        Principal::Other => Err(format!(
            "{} is neither a user nor a role, so there are no policies to simulate",
            caller.arn
        )),
        Principal::Arn(arn) => simulate(arn).await,
        Principal::Role { name, arn } => match simulate(arn).await {
            Err(why) if why.contains("NoSuchEntity") => {
                // The role has a path, which its session does not tell.
                let asked = limited(clock, "GetRole", authority.role_arn(&name)).await;
                match asked.unwrap_or_else(Err) {
                    Ok(arn) => simulate(arn).await,
                    Err(_) => Err(why),
                }
            }
            decided => decided,
        },
    };
    decisions.map(|decisions| (BY_SIMULATOR, decisions))
}

fn judged(action: &str, statement: &Statement, decision: Option<&Decision>, by: &str) -> Step {
    let lacking = match statement.need {
        Need::Now => Failure,
        Need::Useful | Need::Later => Warning,
    };
    let purpose = match statement.need {
        Need::Now => "",
        Need::Useful => "; the daemon works without it",
        Need::Later => "; only a later version needs it",
    };
    let (outcome, message) = match decision {
        Some(Decision::Allowed) => (Fine, format!("allowed, {by}")),
        Some(Decision::NotAllowed) => (
            lacking,
            format!(
                "no policy of the credentials allows it on {}, says the policy simulator (it does not look at resource \
                 policies){purpose}",
                statement.resources.join(", ")
            ),
        ),
        Some(Decision::Forbidden) => (
            lacking,
            format!(
                "a policy forbids it on {}, says the policy simulator{purpose}",
                statement.resources.join(", ")
            ),
        ),
        Some(Decision::DependsOn(keys)) => (
            NotVerified,
            format!(
                "it depends on conditions that the simulator cannot judge ({})",
                keys.join(", ")
            ),
        ),
        None => (NotVerified, "the policy simulator did not say".to_owned()),
    };
    Step::new(action, outcome, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::policy::{Scope, build};
    use crate::check::testing::with;

    #[test]
    fn only_what_was_not_tried_is_simulated() {
        let config = with("");
        let policy = build(&config, &Scope::of(&config));
        let of = |sid: &str, tried: Tried| {
            let statement = policy.statements.iter().find(|s| s.sid == sid).unwrap();
            untried(statement, &tried)
        };
        let there = Tried {
            table_exists: true,
            index_queried: true,
            fanout_described: true,
        };
        let not_there = Tried {
            table_exists: false,
            index_queried: false,
            ..there
        };
        assert!(of("ReadStream", there).is_empty());
        assert_eq!(
            of("LeaseTable", there),
            [
                "dynamodb:PutItem",
                "dynamodb:UpdateItem",
                "dynamodb:DeleteItem"
            ]
        );
        assert!(of("LeaseTable", not_there).contains(&"dynamodb:CreateTable"));
        assert!(of("LeaseTable", not_there).contains(&"dynamodb:Scan"));
        assert!(of("Kcl3LeaseTableIndexRead", there).is_empty());
    }

    #[test]
    fn a_refusal_counts_by_what_the_action_is_for() {
        let config = with("metricsLevel = SUMMARY");
        let policy = build(&config, &Scope::of(&config));
        for (sid, decision, outcome) in [
            ("LeaseTable", Some(Decision::Allowed), Fine),
            ("LeaseTable", Some(Decision::NotAllowed), Failure),
            ("LeaseTable", Some(Decision::Forbidden), Failure),
            ("LeaseTable", Some(Decision::DependsOn(vec![])), NotVerified),
            ("LeaseTable", None, NotVerified),
            ("Metrics", Some(Decision::NotAllowed), Warning),
            ("Kcl3LeaseTableIndex", Some(Decision::NotAllowed), Warning),
        ] {
            let statement = policy.statements.iter().find(|s| s.sid == sid).unwrap();
            let step = judged("x:Y", statement, decision.as_ref(), BY_SIMULATOR);
            assert_eq!(step.outcome, outcome, "{sid} {decision:?}");
        }
    }

    #[test]
    fn the_same_reason_is_told_once() {
        let merged = merge(vec![
            Step::new("a", NotVerified, "why"),
            Step::new("b", Fine, "why"),
            Step::new("c", NotVerified, "why"),
            Step::new("d", NotVerified, "other"),
        ]);
        let names: Vec<&str> = merged.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["a, c", "b", "d"]);
    }
}
