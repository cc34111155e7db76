with {{>company.sql}},
day as (
  select ($1::timestamptz at time zone c.timezone)::date as before, ($2::timestamptz at time zone c.timezone)::date as today
    from company c
)
select distinct l.party
  from day d
  join account_move_reconciliation r on r.date > d.before and r.date <= d.today
  join account_move_line l on l.reconciliation = r.id
 where l.party is not null
 union
select s.party
  from company c
 cross join day d
  join sale_sale s on s.company = c.company and s.currency <> c.currency_id and s.state in ('confirmed', 'processing')
 where exists (select from currency_currency_rate r
                where r.currency in (s.currency, c.currency_id) and r.date > d.before and r.date <= d.today)
