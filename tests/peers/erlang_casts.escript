#!/usr/bin/env escript
%% The same experiment for Erlang: a registered process is killed again and again under load and started again at once,
%% while four senders cast and call it. Counts what was sent and never handled.
-mode(compile).

-define(KILLS, 200).
-define(SENDERS, 4).

main(_) ->
    Handled = counters:new(1, [write_concurrency]),
    Keeper = spawn(fun() -> process_flag(trap_exit, true), keep(Handled) end),
    wait_for(),
    Parent = self(),
    Senders = [spawn(fun() -> send(Parent, 0, 0, 0, 0) end) || _ <- lists:seq(1, ?SENDERS)],
    rand:seed(exsplus, {1, 2, 3}),
    lists:foreach(fun(_) ->
        timer:sleep(rand:uniform(5)),
        exit(wait_for(), kill)
    end, lists:seq(1, ?KILLS)),
    [Sender ! stop || Sender <- Senders],
    Sums = [receive {sent, Casts, Calls, Failed, Hung} -> {Casts, Calls, Failed, Hung} end || _ <- Senders],
    Sum = fun(N) -> lists:sum([element(N, It) || It <- Sums]) end,
    quiet(Handled, -1),
    Casts = Sum(1), Calls = Sum(2), Failed = Sum(3), Hung = Sum(4),
    %% Every call that was answered was handled; what failed may have been.
    Lost = Casts + Calls - Failed - Hung - counters:get(Handled, 1),
    io:format("Erlang/OTP ~s: ~b kills, ~b casts, ~b calls (~b failed, ~b hung), at least ~b casts lost without a word~n",
              [erlang:system_info(otp_release), ?KILLS, Casts, Calls, Failed, Hung, max(0, Lost)]),
    exit(Keeper, kill).

%% Starts the receiver again whenever it has died.
keep(Handled) ->
    spawn_link(fun() -> register(receiver, self()), receiver(Handled) end),
    receive {'EXIT', _, _} -> keep(Handled) end.

receiver(Handled) ->
    receive
        {cast, _} -> counters:add(Handled, 1, 1);
        {call, From, Reference} -> counters:add(Handled, 1, 1), From ! {Reference, ok}
    end,
    receiver(Handled).

wait_for() ->
    case whereis(receiver) of undefined -> erlang:yield(), wait_for(); Pid -> Pid end.

send(Parent, Casts, Calls, Failed, Hung) ->
    receive stop -> Parent ! {sent, Casts, Calls, Failed, Hung}
    after 0 ->
        Sent = lists:sum([cast(Casts + N) || N <- lists:seq(1, 50)]),
        {More, Hangs} = case call() of ok -> {0, 0}; failed -> {1, 0}; hung -> {0, 1} end,
        send(Parent, Casts + Sent, Calls + 1, Failed + More, Hung + Hangs)
    end.

%% As gen_server:cast does: nobody there is no error.
cast(Number) ->
    case whereis(receiver) of undefined -> ok; Pid -> Pid ! {cast, Number} end,
    1.

call() ->
    Reference = erlang:monitor(process, receiver),
    try receiver ! {call, self(), Reference} catch error:badarg -> gone end,
    receive
        {Reference, ok} -> erlang:demonitor(Reference, [flush]), ok;
        {'DOWN', Reference, _, _, _} -> failed
    after 20000 -> hung
    end.

quiet(Handled, Before) ->
    timer:sleep(200),
    case counters:get(Handled, 1) of Before -> ok; Now -> quiet(Handled, Now) end.
