// A Worker in front of the server, for wiring by path: an external service cannot add a prefix.
// One serves any number of namespaces: each binding names its own in its props.

export default {
  fetch(request, env, ctx) {
    // The path goes on as it came: the key in it is decoded by the server, once.
    const { pathname, search } = new URL(request.url);
    const namespace = encodeURIComponent(ctx.props.namespace);
    return env.SERVER.fetch(`http://waypost/binding/${namespace}${pathname}${search}`, request);
  },
};
