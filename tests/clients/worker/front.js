// A Worker in front of the server, for selecting the namespace by path: an external service can't
// add a prefix. One such Worker serves any number of namespaces: each binding names its own in its
// props.

export default {
  fetch(request, env, ctx) {
    // The path is passed on unchanged: the server decodes the key in it, once.
    const { pathname, search } = new URL(request.url);
    const namespace = encodeURIComponent(ctx.props.namespace);
    return env.SERVER.fetch(`http://waypost/binding/${namespace}${pathname}${search}`, request);
  },
};
