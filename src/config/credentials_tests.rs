//! `properties.md` §6 in detail; whole files with it are in `tests/cases/properties/credentials.json`.

use super::*;
use proptest::prelude::*;

fn role(role_arn: &str, session: &str) -> AssumeRole {
    AssumeRole {
        role_arn: role_arn.to_owned(),
        session: session.to_owned(),
        external_id: None,
        endpoint: None,
        endpoint_region: None,
    }
}

const ARN: &str = "arn:aws:iam::111122223333:role/reader";

#[test]
fn nested_arguments_of_the_role_provider() {
    let value = format!(
        "KclStsAssumeRoleCredentialsProvider|{ARN}|s|endpointRegion=eu-west-1|externalId=k7, DefaultCredentialsProvider"
    );
    let parsed = parse("AwsCredentialsProvider", &value).unwrap();
    let expected = AssumeRole {
        external_id: Some("k7".to_owned()),
        endpoint_region: Some("eu-west-1".to_owned()),
        ..role(ARN, "s")
    };
    assert_eq!(
        parsed.chain.providers(),
        [ProviderSpec::AssumeRole(expected), ProviderSpec::Default]
    );
    assert!(parsed.warnings.is_empty() && parsed.remarks.is_empty());
}

#[test]
fn the_endpoint_gives_the_signing_region_too() {
    for (argument, endpoint, region) in [
        (
            "sts.eu-west-1.amazonaws.com^eu-west-1",
            "https://sts.eu-west-1.amazonaws.com",
            "eu-west-1",
        ),
        (
            "http://127.0.0.1:4566^us-east-1",
            "http://127.0.0.1:4566",
            "us-east-1",
        ),
    ] {
        let value = format!("StsAssumeRoleCredentialsProvider|{ARN}|s|endpoint={argument}");
        let expected = AssumeRole {
            endpoint: Some(endpoint.to_owned()),
            endpoint_region: Some(region.to_owned()),
            ..role(ARN, "s")
        };
        let parsed = parse("k", &value).unwrap();
        assert_eq!(
            parsed.chain,
            ProviderChain::only(ProviderSpec::AssumeRole(expected))
        );
    }
}

#[test]
fn a_role_that_cannot_be_used_says_why() {
    for (value, why) in [
        (
            "StsAssumeRoleCredentialsProvider",
            "needs a role and a session",
        ),
        (
            "StsAssumeRoleCredentialsProvider|arn:aws:iam::1:role/x",
            "needs a role and a session",
        ),
        ("StsAssumeRoleCredentialsProvider||s", "is empty"),
        (
            "StsAssumeRoleCredentialsProvider|arn:aws:iam::1:role/x|s|endpoint=a",
            "endpoint=host^region",
        ),
        (
            "StsAssumeRoleCredentialsProvider|arn:aws:iam::1:role/x|s|endpoint=a^b^c",
            "endpoint=host^region",
        ),
        (
            "StsAssumeRoleCredentialsProvider|arn:aws:iam::1:role/x|s|endpoint=a b^c",
            "no endpoint",
        ),
        (
            "StsAssumeRoleCredentialsProvider|arn:aws:iam::1:role/x|s|endpointRegion=not a region",
            "not a region",
        ),
    ] {
        let error = parse("AwsCredentialsProvider", value).unwrap_err();
        assert!(
            error.contains(why) && error.contains("'StsAssumeRoleCredentialsProvider'"),
            "{error}"
        );
        assert!(
            error.contains("ProfileCredentialsProvider"),
            "lists what is understood: {error}"
        );
    }
}

#[test]
fn odd_arguments_of_a_role_are_told_and_the_role_stays() {
    let value = format!("StsAssumeRoleCredentialsProvider|{ARN}|s|externalId=a=b|color=blue|word");
    let parsed = parse("k", &value).unwrap();
    let expected = AssumeRole {
        external_id: Some("a=b".to_owned()),
        ..role(ARN, "s")
    };
    assert_eq!(
        parsed.chain.providers(),
        [ProviderSpec::AssumeRole(expected)]
    );
    assert_eq!((parsed.warnings.len(), parsed.remarks.len()), (2, 1));
    let told = format!("{parsed:?}").replace(&format!("{:?}", parsed.chain), "");
    assert!(!told.contains("blue") && !told.contains("a=b"), "{told}");
}

#[test]
fn text_that_is_no_class_name_is_never_repeated() {
    for value in [
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG",
        "AKIAPROVIDER/secret",
    ] {
        let error = parse("AwsCredentialsProvider", value).unwrap_err();
        assert!(
            !error.contains(value) && error.contains("element 1"),
            "{error}"
        );
    }
}

#[test]
fn a_near_name_is_proposed() {
    let error = parse("k", "DefaultCredentialProvider").unwrap_err();
    assert!(
        error.contains("did you mean 'DefaultCredentialsProvider'?"),
        "{error}"
    );
}

#[test]
fn the_prefix_of_sylvites_provider() {
    let chain = |value: &str| {
        parse("k", value)
            .unwrap()
            .chain
            .with_custom_prefix("MINE")
            .to_string()
    };
    let name = "com.er.sylvite.CustomEnvironmentVariableCredentialsProvider";
    assert_eq!(
        chain(name),
        "CustomEnvironmentVariableCredentialsProvider|MINE"
    );
    assert_eq!(
        chain(&format!("{name}|OTHER")),
        "CustomEnvironmentVariableCredentialsProvider|OTHER"
    );
}

proptest! {
    #[test]
    fn any_text_gives_a_chain_or_a_reason(text in "\\PC{0,60}") {
        match parse("k", &text) {
            Ok(parsed) => prop_assert!(!parsed.chain.providers().is_empty()),
            Err(why) => prop_assert!(!why.is_empty()),
        }
    }

    #[test]
    fn arguments_never_reach_a_message(name in "[A-Za-z]{0,5}(CredentialsProvider)?", argument in "[a-z0-9]{12,20}", nested in "(externalId=|endpoint=|x=|)") {
        let told = match parse("k", &format!("{name}|{argument}|{nested}{argument}")) {
            Ok(parsed) => format!("{:?}{:?}", parsed.warnings, parsed.remarks),
            Err(why) => why,
        };
        prop_assert!(!told.contains(&argument), "{}", told);
    }
}
