//! Who the credentials are, and what IAM's policy simulator says they may do.

use std::future::Future;

use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, PolicyEvaluationDecisionType};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::aws::clients::{Access, ClientSettings, NoRegion, sdk_config, twice_after_hiccup};
use crate::aws::errors::{Call, Cause};

/// Who the credentials are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account, twelve digits.
    pub account: String,
    /// The ARN of the user, or of the role's session.
    pub arn: String,
}

/// What a policy can be simulated for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A user or a role, by its ARN.
    Arn(String),
    /// A session of this role: its ARN lacks the role's path, which has to be asked for.
    Role {
        /// The role's name.
        name: String,
        /// The ARN it has if it has no path.
        arn: String,
    },
    /// The account's root, who may do everything.
    Root,
    /// A federated user and the like: nothing to simulate.
    Other,
}

impl Caller {
    /// Whose policies count.
    #[must_use]
    pub fn principal(&self) -> Principal {
        let mut parts = self.arn.splitn(6, ':').skip(1);
        let partition = parts.next().unwrap_or_default();
        let resource = parts.nth(3).unwrap_or_default();
        match resource.split_once('/') {
            Some(("user", _)) => Principal::Arn(self.arn.clone()),
            Some(("assumed-role", rest)) => {
                let name = rest.split('/').next().unwrap_or_default();
                Principal::Role {
                    arn: format!("arn:{partition}:iam::{}:role/{name}", self.account),
                    name: name.to_owned(),
                }
            }
            None if resource == "root" => Principal::Root,
            _ => Principal::Other,
        }
    }
}

/// What the simulator says of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A policy allows it and none forbids it.
    Allowed,
    /// No policy allows it.
    NotAllowed,
    /// A policy forbids it.
    Forbidden,
    /// It depends on these condition keys, of which nothing is known.
    DependsOn(Vec<String>),
}

/// The ways to STS and IAM.
#[derive(Debug, Clone)]
pub struct Authority {
    sts: aws_sdk_sts::Client,
    iam: aws_sdk_iam::Client,
}

impl Authority {
    /// Clients with the settings given for each.
    ///
    /// # Errors
    /// [`NoRegion`].
    pub async fn new(
        sts: &ClientSettings,
        iam: &ClientSettings,
        access: &Access,
    ) -> Result<Self, NoRegion> {
        Ok(Self {
            sts: aws_sdk_sts::Client::new(&sdk_config(sts, access).await?),
            iam: aws_sdk_iam::Client::new(&sdk_config(iam, access).await?),
        })
    }

    /// GetCallerIdentity, which needs no permission.
    ///
    /// # Errors
    /// A sentence.
    pub async fn caller(&self) -> Result<Caller, String> {
        let subject = "the credentials";
        let output = asking("sts", "GetCallerIdentity", subject, || {
            self.sts.get_caller_identity().send()
        })
        .await?;
        match (output.account, output.arn) {
            (Some(account), Some(arn)) => Ok(Caller { account, arn }),
            _ => Err("GetCallerIdentity answered without account and ARN".to_owned()),
        }
    }

    /// SimulatePrincipalPolicy for some actions on one resource. `namespace` is the CloudWatch
    /// namespace that conditions may ask for.
    ///
    /// # Errors
    /// A sentence: mostly that the simulator may not be asked.
    pub async fn simulate(
        &self,
        principal: &str,
        actions: &[String],
        resource: &str,
        namespace: &str,
    ) -> Result<Vec<(String, Decision)>, String> {
        let context = ContextEntry::builder()
            .context_key_name("cloudwatch:namespace")
            .context_key_type(ContextKeyTypeEnum::String)
            .context_key_values(namespace)
            .build();
        let output = asking("iam", "SimulatePrincipalPolicy", principal, || {
            self.iam
                .simulate_principal_policy()
                .policy_source_arn(principal)
                .set_action_names(Some(actions.to_vec()))
                .resource_arns(resource)
                .context_entries(context.clone())
                .send()
        })
        .await?;
        Ok(output
            .evaluation_results
            .unwrap_or_default()
            .into_iter()
            .map(|result| {
                let decision = match &result.eval_decision {
                    PolicyEvaluationDecisionType::Allowed => Decision::Allowed,
                    PolicyEvaluationDecisionType::ExplicitDeny => Decision::Forbidden,
                    _ if !result.missing_context_values().is_empty() => {
                        Decision::DependsOn(result.missing_context_values().to_vec())
                    }
                    _ => Decision::NotAllowed,
                };
                (result.eval_action_name, decision)
            })
            .collect())
    }

    /// GetRole, for a role's ARN with its path.
    ///
    /// # Errors
    /// A sentence.
    pub async fn role_arn(&self, name: &str) -> Result<String, String> {
        let output = asking("iam", "GetRole", &format!("role {name}"), || {
            self.iam.get_role().role_name(name).send()
        })
        .await?;
        output
            .role
            .map(|role| role.arn)
            .ok_or_else(|| format!("GetRole on role {name} answered without the role"))
    }
}

async fn asking<T, E, F, Fut>(
    service: &'static str,
    operation: &'static str,
    subject: &str,
    send: F,
) -> Result<T, String>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    twice_after_hiccup(send).await.map_err(|cause: Cause| {
        cause.sentence(Call {
            service,
            operation,
            subject,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_policies_count() {
        for (arn, expected) in [
            (
                "arn:aws:iam::111122223333:user/team/me",
                Principal::Arn("arn:aws:iam::111122223333:user/team/me".to_owned()),
            ),
            (
                "arn:aws-cn:sts::111122223333:assumed-role/reader/session",
                Principal::Role {
                    name: "reader".to_owned(),
                    arn: "arn:aws-cn:iam::111122223333:role/reader".to_owned(),
                },
            ),
            ("arn:aws:iam::111122223333:root", Principal::Root),
            (
                "arn:aws:sts::111122223333:federated-user/me",
                Principal::Other,
            ),
            ("nonsense", Principal::Other),
            ("", Principal::Other),
        ] {
            let caller = Caller {
                account: "111122223333".to_owned(),
                arn: arn.to_owned(),
            };
            assert_eq!(caller.principal(), expected, "{arn}");
        }
    }
}
