company as (
  -- the company whose truth is shown, its currency, and what day it is there
  select c.id as company, c.party, cur.id as currency_id, cur.code as currency, cur.rounding,
         coalesce(nullif(c.timezone, ''), {{timezone}}) as timezone,
         (now() at time zone coalesce(nullif(c.timezone, ''), {{timezone}}))::date as today
    from company_company c
    join party_party owner on owner.id = c.party
    join currency_currency cur on cur.id = c.currency
   where {{company}} is null or owner.name = {{company}}
   order by c.id
   limit 1
)
