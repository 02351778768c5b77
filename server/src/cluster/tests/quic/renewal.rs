//! Members that renew their certificates over loopback, with and without a token.

use super::*;

#[tokio::test]
async fn a_new_token_renews_a_certificate() {
    let holder = CaHolder::start().await;
    let (data, token) = (TempDir::new().unwrap(), holder.token());
    let mut descriptor = joins(data.path(), &token).await.unwrap().descriptor().clone();
    let store = Store::open(data.path()).unwrap();
    store.create_namespace("a member may have entries").unwrap();
    store.close().unwrap();
    drop(store);

    let directory = ClusterDir::of(data.path());
    let ca = load_ca(&ClusterDir::of(holder.data.path())).unwrap();
    let key = read_key(&directory, files::KEY).unwrap();
    let identity = load(data.path(), now()).unwrap().expect("a member").identity();
    for days in [70, 400] {
        let old = ca.issue(identity, &key, now() - days * DAY).unwrap();
        directory.write(files::CERTIFICATE, &to_pem(&old)).unwrap();
        let token = holder.token();
        let renewed = joins(data.path(), &token).await.unwrap();
        descriptor.token = Some(token.id);
        assert_eq!(renewed, JoinOutcome::Renewed(descriptor.clone()));
        let expiry = load(data.path(), now()).unwrap().expect("a member").expiry;
        assert!(expiry.location > now() + 85 * DAY);
    }
    holder.stop().await;
}

#[tokio::test]
async fn a_new_token_names_the_members_of_today_to_a_store_that_knows_none_of_them() {
    let holder = CaHolder::start().await;
    let data = TempDir::new().unwrap();
    let mut descriptor = joins(data.path(), &holder.token()).await.unwrap().descriptor().clone();
    let today = std::mem::take(&mut descriptor.dial);
    descriptor.save(&ClusterDir::of(data.path())).unwrap();
    let token = holder.token();
    let outcome = joins(data.path(), &token).await.unwrap();
    (descriptor.dial, descriptor.token) = (today, Some(token.id));
    assert_eq!(outcome.descriptor(), &descriptor);
    assert_eq!(Descriptor::load(&ClusterDir::of(data.path())).unwrap(), Some(descriptor));
    holder.stop().await;
}

#[tokio::test]
async fn a_used_token_renews_nothing() {
    let holder = CaHolder::start().await;
    let (data, token) = (TempDir::new().unwrap(), holder.token());
    let directory = ClusterDir::of(data.path());
    let descriptor = joins(data.path(), &token).await.unwrap().descriptor().clone();
    let next = holder.token();
    let ca = load_ca(&ClusterDir::of(holder.data.path())).unwrap();
    let key = read_key(&directory, files::KEY).unwrap();
    let identity = load(data.path(), now()).unwrap().expect("a member").identity();
    // As if all this had been 70 days ago: the token was used for the current certificate.
    let old = to_pem(&ca.issue(identity, &key, now() - 70 * DAY).unwrap());
    directory.write(files::CERTIFICATE, &old).unwrap();
    let invitations = ClusterDir::of(holder.data.path());
    let used = invitations.read(files::INVITATIONS).unwrap();
    let first =
        used.find("-----BEGIN").unwrap()..used.rfind("-----END CERTIFICATE-----\n").unwrap() + 26;
    invitations
        .write(files::INVITATIONS, &format!("{}{old}{}", &used[..first.start], &used[first.end..]))
        .unwrap();
    let again = joins(data.path(), &token).await.unwrap();
    assert_eq!(again, JoinOutcome::Already(descriptor.clone()), "it was not renewed");
    assert_eq!(directory.read(files::CERTIFICATE).unwrap(), old);

    // If it has expired, the location starts all the same, and its server renews it without a token.
    let over = to_pem(&ca.issue(identity, &key, now() - 400 * DAY).unwrap());
    directory.write(files::CERTIFICATE, &over).unwrap();
    let used = invitations.read(files::INVITATIONS).unwrap().replace(&old, &over);
    invitations.write(files::INVITATIONS, &used).unwrap();
    let again = joins(data.path(), &token).await.unwrap();
    assert_eq!(again, JoinOutcome::Already(descriptor.clone()), "it was not renewed");
    let renewed = joins(data.path(), &next).await.unwrap();
    assert_eq!(renewed.descriptor().token, Some(next.id));
    assert!(matches!(renewed, JoinOutcome::Renewed(_)), "{renewed:?}");
    holder.stop().await;
}

/// Rotates the CA, which a server uses for its links soon. Returns its fingerprint.
async fn rotated(holder: &CaHolder) -> Sha256 {
    let newest = ca::rotate(holder.data.path(), now()).unwrap();
    let location = load(holder.data.path(), now()).unwrap().expect("a member");
    holder.replica.handle().set_identity(proof(&location)).await.unwrap();
    newest
}

/// Lets a member renew its certificate at the CA holder at these addresses.
async fn renewed(data: &Path, addresses: &[Address]) -> Result<Location, RenewalError> {
    let current = load(data, now()).unwrap().expect("a member");
    renew(data, &current, addresses, now()).await?;
    Ok(load(data, now()).unwrap().expect("a member"))
}

#[tokio::test]
async fn a_member_renews_its_certificate_without_a_token_unless_it_was_removed() {
    let holder = CaHolder::start().await;
    let (data, token) = (TempDir::new().unwrap(), holder.token());
    let descriptor = joins(data.path(), &token).await.unwrap().descriptor().clone();
    let directory = ClusterDir::of(data.path());
    let addresses = token.addresses.clone();
    let renewed = async || renewed(data.path(), &addresses).await;
    let first = directory.read(files::CERTIFICATE).unwrap();
    let holder_is = renewed().await.unwrap().ca_holder.expect("it was reached");
    assert_eq!(holder_is.location, name("fra"));
    assert_eq!(directory.read(files::CERTIFICATE).unwrap(), first, "its certificate is new");

    let ca = load_ca(&ClusterDir::of(holder.data.path())).unwrap();
    let key = read_key(&directory, files::KEY).unwrap();
    let identity = load(data.path(), now()).unwrap().expect("a member").identity();
    let age = |days: u64| {
        let old = to_pem(&ca.issue(identity, &key, now() - days * DAY).unwrap());
        directory.write(files::CERTIFICATE, &old).unwrap();
        old
    };
    let young = age(59);
    renewed().await.unwrap();
    assert_eq!(directory.read(files::CERTIFICATE).unwrap(), young, "two thirds are not over");
    for days in [61, 89, 91, 400] {
        age(days);
        let location = renewed().await.unwrap();
        assert!(location.expiry.location > now() + 85 * DAY, "after {days} days");
    }

    let old = age(91);
    let operation = Operation::RemoveMember { id: descriptor.member };
    holder.store.submit(operation).unwrap().wait().unwrap();
    let error = renewed().await.expect_err("it was removed").to_string();
    assert!(error.contains("was removed from the cluster"), "{error}");
    assert_eq!(directory.read(files::CERTIFICATE).unwrap(), old);
    holder.stop().await;
    let error = renewed().await.expect_err("nobody is there").to_string();
    assert!(error.contains(&addresses[0].to_string()), "{error}");
}

#[tokio::test]
async fn a_member_gets_a_certificate_of_the_new_ca_after_a_rotation() {
    let holder = CaHolder::start().await;
    let (data, token) = (TempDir::new().unwrap(), holder.token());
    joins(data.path(), &token).await.unwrap();
    let first = load(data.path(), now()).unwrap().expect("a member");
    for count in 2..4 {
        let newest = rotated(&holder).await;
        let location = renewed(data.path(), &token.addresses).await.unwrap();
        assert!(location.has_newest_ca());
        assert_eq!(ca::show(data.path(), now()).unwrap().issuer, newest);
        assert_eq!(location.trusted.len(), count, "former CAs are trusted meanwhile");
    }
    // A location that was away meanwhile knows the first CA only.
    let directory = ClusterDir::of(data.path());
    directory.write(files::CA, &to_pem(first.authorities.newest())).unwrap();
    directory.write(files::CERTIFICATE, &to_pem(&first.chain[0])).unwrap();
    let location = renewed(data.path(), &token.addresses).await.unwrap();
    assert!(location.has_newest_ca());
    assert_eq!(ca::retire(data.path(), now()).unwrap(), 1);
    holder.stop().await;

    // A location can join while two CAs are trusted, and tokens from before a rotation are refused.
    let holder = CaHolder::start().await;
    let old = holder.token();
    rotated(&holder).await;
    let data = TempDir::new().unwrap();
    joins(data.path(), &old).await.expect_err("the token names the former CA");
    joins(data.path(), &holder.token()).await.unwrap();
    assert_eq!(load(data.path(), now()).unwrap().expect("a member").trusted.len(), 2);
    holder.stop().await;
}
